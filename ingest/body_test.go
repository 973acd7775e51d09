package ingest

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

func TestBodyRead(t *testing.T) {
	const limit = 20 << 10
	content := bytes.Repeat([]byte("0123456789"), limit/5)
	broken := errors.New("broken")
	for _, test := range []struct {
		name      string
		source    io.Reader
		announced int64
		length    int
		want      error
	}{
		{"announced", bytes.NewReader(content[:5000]), 5000, 5000, nil},
		{"announced, more behind", bytes.NewReader(content), 5000, 5000, nil},
		{"announced, at the limit", bytes.NewReader(content[:limit]), limit, limit, nil},
		{"announced, cut off", bytes.NewReader(content[:4999]), 5000, 4999, errTruncated},
		{"announced, nothing came", bytes.NewReader(nil), 5000, 0, errTruncated},
		{"nothing announced", bytes.NewReader(content), 0, 0, nil},
		{"open", bytes.NewReader(content[:5000]), -1, 5000, nil},
		{"open, empty", bytes.NewReader(nil), -1, 0, nil},
		{"open, at the limit", bytes.NewReader(content[:limit]), -1, limit, nil},
		{"open, too large", bytes.NewReader(content[:limit+1]), -1, limit, errTooLarge},
		{"byte by byte", iotest.OneByteReader(bytes.NewReader(content[:5000])), 5000, 5000, nil},
		{"end with the last bytes", iotest.DataErrReader(bytes.NewReader(content[:5000])), -1, 5000, nil},
		{"broken", io.MultiReader(bytes.NewReader(content[:10]), iotest.ErrReader(broken)), 5000, 10, broken},
		{"never anything", iotest.ErrReader(nil), 5000, 0, io.ErrNoProgress},
	} {
		t.Run(test.name, func(t *testing.T) {
			lender := newBuffers(1<<20, limit)
			b := body{from: lender}
			if err := b.read(test.source, test.announced, limit); !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
			if !bytes.Equal(b.bytes(), content[:test.length]) {
				t.Errorf("%d bytes read, want %d", len(b.bytes()), test.length)
			}
			b.release()
			b.release()
			if lent := lender.inFlight.Load(); lent != 0 {
				t.Errorf("%d bytes in flight after the release", lent)
			}
		})
	}
}

// At most four times what came is lent, and never more than is needed.
func TestBodyGrows(t *testing.T) {
	lender := newBuffers(64<<20, 4<<20)
	var b body
	b.from = lender
	defer b.release()
	content := bytes.NewReader(make([]byte, 3<<20))
	for b.length < 3<<20 {
		if b.lent == nil || b.length == int64(len(*b.lent)) {
			if err := b.grow(3 << 20); err != nil {
				t.Fatal(err)
			}
		}
		lent := lender.inFlight.Load()
		if lent != int64(len(*b.lent)) || lent > max(4<<10, 4*b.length) || lent > 4<<20 {
			t.Fatalf("%d bytes lent for %d that came", lent, b.length)
		}
		n, _ := content.Read((*b.lent)[b.length:])
		b.length += int64(n)
	}
}

func TestInFlightLimit(t *testing.T) {
	lender := newBuffers(10<<10, 64<<10)
	first, second := body{from: lender}, body{from: lender}
	if err := first.read(bytes.NewReader(make([]byte, 5000)), 5000, 64<<10); !errors.Is(err, errInFlight) {
		t.Errorf("4 and 8 KiB of 10: %v, want %v", err, errInFlight)
	}
	if err := second.read(bytes.NewReader(make([]byte, 100)), 100, 64<<10); err != nil {
		t.Errorf("a second small one: %v", err)
	}
	first.release()
	second.release()
	if lent := lender.inFlight.Load(); lent != 0 {
		t.Errorf("%d bytes in flight after the release", lent)
	}
}

func TestClassOf(t *testing.T) {
	for size, want := range map[int64]int{0: 0, 1: 0, 4096: 0, 4097: 1, 8192: 1, 8193: 2, 4 << 20: 10, 4<<20 + 1: 11} {
		if got := classOf(size); got != want {
			t.Errorf("classOf(%d) = %d, want %d", size, got, want)
		}
		if classSize(want) < size {
			t.Errorf("class %d does not hold %d", want, size)
		}
	}
}
