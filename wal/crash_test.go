package wal

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ledger holds what was acknowledged before a crash and must be there after it.
type ledger struct {
	// writing is held for reading from an append to its line in the book, so that
	// trim does not come in between.
	writing sync.RWMutex

	// mu guards what follows.
	mu sync.Mutex
	// bodies are those of the records not trimmed, by lane; dead names letters.
	bodies [len(Lanes)]map[string]bool
	dead   map[string]bool
	node   string
	// crashed closes the book until the restart.
	crashed bool
}

// enter writes a line, unless the crash came first.
func (b *ledger) enter(line func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.crashed {
		line()
	}
}

// TestCrash loses power at random moments, with a random part of what was not
// synced: every record and dead letter that was acknowledged is there after the
// restart, in sequences without a gap, and the log goes on to the next crash.
func TestCrash(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	lives := 1
	if os.Getenv("SPILLWAY_TEST_FULL") != "" {
		lives = 10
	}
	for life := range lives {
		crashLife(t, life, rng)
	}
}

// crashLife is a log from its first start through 30 crashes.
func crashLife(t *testing.T, life int, rng *rand.Rand) {
	book := &ledger{dead: map[string]bool{}}
	for i := range book.bodies {
		book.bodies[i] = map[string]bool{}
	}
	fs := vfs.NewCrashableMem()
	for round := range 30 {
		fs = crashRound(t, fs, book, round, rng)
		if t.Failed() {
			t.Fatalf("life %d, round %d", life, round)
		}
	}
	t.Logf("%d and %d records, %d dead letters", len(book.bodies[0]), len(book.bodies[1]), len(book.dead))
	if len(book.dead) == 0 { // each came after a record
		t.Error("nothing was tested")
	}
}

// crashRound opens the log, checks it, writes to it, and returns the file
// system as a crash in the middle of that left it.
func crashRound(t *testing.T, fs *vfs.MemFS, book *ledger, round int, rng *rand.Rand) *vfs.MemFS {
	config := memConfig()
	config.FS, config.Retain = fs, 0
	l, err := Open(config, nil, nil)
	if err != nil {
		t.Fatalf("open after crash: %v", err)
	}
	defer closeLog(t, l)
	book.check(t, l)

	size := 1 << rng.IntN(18)
	stop := make(chan struct{})
	var group sync.WaitGroup
	for g := range 8 {
		group.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					book.write(t, l, round, g, i, size)
				}
			}
		})
	}
	for range rng.IntN(4) {
		time.Sleep(time.Duration(rng.IntN(4000)) * time.Microsecond)
		book.trim(t, l, uint64(rng.IntN(100)))
	}
	time.Sleep(time.Duration(rng.IntN(8000)) * time.Microsecond)
	crashed := book.crash(fs, rng)
	close(stop)
	group.Wait()
	return crashed
}

func (b *ledger) crash(fs *vfs.MemFS, rng *rand.Rand) *vfs.MemFS {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.crashed = true
	return fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
}

// write appends a record, and buries a letter now and then.
func (b *ledger) write(t *testing.T, l *Log, round, g, i, size int) {
	b.writing.RLock()
	defer b.writing.RUnlock()
	lane := Lanes[g%2]
	r := testRecord(size)
	r.Body = append(fmt.Appendf(nil, "%d.%d.%d ", round, g, i), r.Body...)
	if err := l.Append(lane, r); err != nil {
		t.Error(err)
		return
	}
	b.enter(func() { b.bodies[lane][string(r.Body)] = true })
	if i%10 == 0 {
		if err := bury(l, letter(lane, uint64(round*8+g), i, time.Now())); err != nil {
			t.Error(err)
			return
		}
		b.enter(func() { b.dead[fmt.Sprintf("%s %d %d", lane, round*8+g, i)] = true })
	}
}

// trim deletes the oldest n records of each lane.
func (b *ledger) trim(t *testing.T, l *Log, n uint64) {
	b.strike(t, l, n)
	if err := l.janitor.trim(time.Now(), 0); err != nil {
		t.Error(err)
	}
}

// strike takes the oldest n records of each lane out of the book and releases
// them.
func (b *ledger) strike(t *testing.T, l *Log, n uint64) {
	b.writing.Lock()
	defer b.writing.Unlock()
	for _, lane := range Lanes {
		through := min(l.First(lane)+n, l.Head(lane))
		for _, r := range readAll(t, l, lane, through) {
			b.enter(func() { delete(b.bodies[lane], string(r.Body)) })
		}
		l.Release(lane, through)
	}
}

// readAll reads a lane from its start up to through.
func readAll(t *testing.T, l *Log, lane Lane, through uint64) (all []Record) {
	r := l.Reader(lane, 0)
	defer r.Close()
	for r.next <= through {
		records, err := r.Next(context.Background(), int(through-r.next+1), 1<<20)
		if err != nil {
			t.Errorf("read %s: %v", lane, err)
			return nil
		}
		for _, record := range records {
			record.Body = append([]byte{}, record.Body...)
			all = append(all, record)
		}
	}
	return all
}

// check compares the log with the book, and opens the book again with all that
// the log has: what was not acknowledged but kept must stay from now on.
func (b *ledger) check(t *testing.T, l *Log) {
	for _, lane := range Lanes {
		found := map[string]bool{}
		next := l.First(lane)
		for _, r := range readAll(t, l, lane, l.Head(lane)) {
			if r.Seq != next {
				t.Errorf("%s record %d follows %d", lane, r.Seq, next-1)
			}
			found[string(r.Body)] = true
			next++
		}
		if next != l.Head(lane)+1 || l.Released(lane) > l.Head(lane) || l.Released(lane)+1 < l.First(lane) {
			t.Errorf("%s: first %d, released %d, head %d, read up to %d", lane, l.First(lane), l.Released(lane), l.Head(lane), next-1)
		}
		for body := range b.bodies[lane] {
			if !found[body] {
				t.Errorf("%s record %.20q is lost", lane, body)
			}
		}
		b.bodies[lane] = found
	}
	b.checkDead(t, l)
	if b.node != "" && b.node != l.Node() {
		t.Errorf("node %s became %s", b.node, l.Node())
	}
	b.node, b.crashed = l.Node(), false
}

func (b *ledger) checkDead(t *testing.T, l *Log) {
	found := map[string]bool{}
	err := l.Dead(func(d DeadLetter) error {
		found[fmt.Sprintf("%s %d %d", d.Lane, d.Seq, d.Item)] = true
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if l.deadCount.Load() != int64(len(found)) {
		t.Errorf("%d dead letters counted, %d found", l.deadCount.Load(), len(found))
	}
	for name := range b.dead {
		if !found[name] {
			t.Errorf("dead letter %s is lost", name)
		}
	}
	b.dead = found
}
