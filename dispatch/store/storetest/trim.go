package storetest

import (
	"fmt"
	"slices"
	"time"

	"spillway/dispatch/store"
)

var trimChecks = []check{
	{name: "TrimmedByCount", run: trimmedByCount, opts: func(o *Options) { o.Retain = 4096 }},
	{name: "TrimmedByBytes", run: trimmedByBytes, opts: func(o *Options) { o.RetainBytes = 1 << 20 }},
}

func trimmedByCount(f *fixture) {
	applied := make([][]store.Entry, f.opts.Partitions)
	for i := range 100 {
		for p := range f.opts.Partitions {
			f.fill(p, 32, fmt.Sprint(i))
			applied[p] = append(applied[p], f.lastOf(p, 32)...)
		}
	}
	f.checkTrimmed(applied, func(held []store.Entry) bool {
		return len(held) <= int(f.opts.Retain)*5/4 && len(held) >= int(f.opts.Retain)*3/4
	})
}

func trimmedByBytes(f *fixture) {
	applied := make([][]store.Entry, f.opts.Partitions)
	for i := range 300 {
		p := i % f.opts.Partitions
		e := change(fmt.Sprint("big", i), noon, noon)
		e.Payload = fmt.Appendf(nil, `{"value":%q}`, string(slices.Repeat([]byte("x"), 16<<10)))
		f.apply(f.batch(express, p, e))
		applied[p] = append(applied[p], f.lastOf(p, 1)...)
	}
	f.checkTrimmed(applied, func(held []store.Entry) bool {
		bytes := 0
		for _, e := range held {
			bytes += len(e.Payload)
		}
		return bytes <= int(f.opts.RetainBytes)*5/4 && bytes >= int(f.opts.RetainBytes)*3/4
	})
}

// checkTrimmed waits until the streams hold what they may. Whenever it looks, all
// that stands after Trimmed is there; in the end nothing else is.
func (f *fixture) checkTrimmed(applied [][]store.Entry, fits func([]store.Entry) bool) {
	f.Helper()
	deadline := time.Now().Add(patience)
	for {
		held := make([][]store.Entry, len(applied))
		exact := true
		for p := range applied {
			held[p] = f.read(p)
		}
		bounds := f.bounds()
		for p, all := range applied {
			i := 0
			for i < len(all) && all[i].Place.Compare(bounds[p].Trimmed) <= 0 {
				i++
			}
			extra := len(held[p]) - len(all[i:])
			if extra < 0 || differ(held[p][extra:], all[i:]) >= 0 {
				f.Fatalf("partition %d claims %d entries after Trimmed and does not hold them", p, len(all[i:]))
			}
			f.same("Last", bounds[p].Last, all[len(all)-1].Place)
			exact = exact && extra == 0
		}
		if exact && fits(slices.Concat(held...)) {
			return
		}
		if time.Now().After(deadline) {
			f.Fatalf("the streams hold %d entries; exactly those after Trimmed: %v", len(slices.Concat(held...)), exact)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
