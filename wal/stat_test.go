package wal

import (
	"errors"
	"io/fs"
	"sync"
	"testing"
	"time"
)

func TestStats(t *testing.T) {
	config := memConfig()
	k := newClock(&config)
	l := open(t, config)
	empty, err := l.Stats()
	if err != nil || empty.Lanes[Bulk].First != 1 || empty.Lanes[Bulk].Head != 0 || empty.WriteAmplification() != 0 {
		t.Fatalf("an empty log: %+v, %v", empty, err)
	}
	old := k.at
	appendAt(t, l, Bulk, old)
	k.pass(2 * time.Minute)
	young := k.at
	appendAt(t, l, Bulk, young)
	appendAt(t, l, Express, young)
	if err := bury(l, letter(Bulk, 1, 0, old)); err != nil {
		t.Fatal(err)
	}
	l.Release(Bulk, 1)
	tick(t, l)

	s, err := l.Stats()
	if err != nil {
		t.Fatal(err)
	}
	b := s.Lanes[Bulk]
	if b.First != 1 || b.Head != 2 || b.Released != 1 || b.LastMinute != 1 || s.Lanes[Express].LastMinute != 1 {
		t.Errorf("lanes %+v", s.Lanes)
	}
	if !b.Oldest.Equal(old) || !b.Newest.Equal(young) {
		t.Errorf("oldest %s, newest %s", b.Oldest, b.Newest)
	}
	if b.Bytes <= b.UnreleasedBytes || b.UnreleasedBytes <= 0 {
		t.Errorf("%d bytes, %d of them not released", b.Bytes, b.UnreleasedBytes)
	}
	if want := b.Bytes + s.Lanes[Express].Bytes; s.Appended != want {
		t.Errorf("%d bytes appended, want %d", s.Appended, want)
	}
	// At least what was appended went to Pebble's log.
	if s.Written < s.Appended || s.WriteAmplification() < 1 {
		t.Errorf("%d bytes written for %d", s.Written, s.Appended)
	}
	if s.Node != l.Node() || s.DeadLetters != 1 || s.DeadBytes <= 0 || s.MaxBytes != config.MaxBytes {
		t.Errorf("%+v", s)
	}
}

// TestStatsWhileTrimming: the first record may go while the figures are read.
func TestStatsWhileTrimming(t *testing.T) {
	config := memConfig()
	l := open(t, config)
	const records = 2000
	appendMany(t, l, Bulk, records, 10)
	l.Release(Bulk, records)
	var group sync.WaitGroup
	group.Go(func() {
		for seq := uint64(1); seq <= records; seq++ {
			if err := l.trimLane(Bulk, seq); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for l.First(Bulk) <= records && !t.Failed() {
		if s, err := l.Stats(); err != nil {
			t.Errorf("first %d: %v", s.Lanes[Bulk].First, err)
		}
	}
	group.Wait()
}

// TestReadOnly: what a log held is read, and nothing is changed.
func TestReadOnly(t *testing.T) {
	config := memConfig()
	if _, err := OpenReadOnly(config, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("no log: %v", err)
	}
	l, err := Open(config, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	appendMany(t, l, Bulk, 30, 10)
	if err := bury(l, letter(Bulk, 3, 1, time.Now())); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenReadOnly(config, nil); !errors.Is(err, ErrLocked) {
		t.Errorf("a log in use: %v", err)
	}
	node := l.Node()
	closeLog(t, l)

	r, err := OpenReadOnly(config, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, r, Bulk, 30); len(got) != 30 || r.Node() != node {
		t.Errorf("%d records of %s", len(got), r.Node())
	}
	d, err := r.DeadLetter(Bulk, 3, 1)
	if err != nil || d.Item != 1 || len(d.Body) == 0 {
		t.Errorf("dead letter %+v, %v", d, err)
	}
	if _, err := r.DeadLetter(Bulk, 3, 2); !errors.Is(err, ErrNotFound) {
		t.Errorf("no dead letter: %v", err)
	}
	r.Release(Bulk, 20)
	_, renewed := r.Renew()
	for name, err := range map[string]error{
		"append": r.Append(Bulk, testRecord(1)),
		"bury":   bury(r, letter(Bulk, 4, 0, time.Now())),
		"unbury": r.Unbury(letter(Bulk, 3, 1, time.Now())),
		"renew":  renewed,
		"ready":  r.Ready(),
	} {
		if !errors.Is(err, ErrReadOnly) {
			t.Errorf("%s: %v", name, err)
		}
	}
	closeLog(t, r)
	if again := open(t, config); again.Released(Bulk) != 0 || again.Head(Bulk) != 30 || again.deadCount.Load() != 1 {
		t.Errorf("released %d, head %d, %d dead", again.Released(Bulk), again.Head(Bulk), again.deadCount.Load())
	}
}

func TestDeadAfter(t *testing.T) {
	l := open(t, memConfig())
	all := []DeadLetter{
		letter(Lanes[0], 3, WholeRecord, time.Now()), letter(Lanes[0], 3, 0, time.Now()),
		letter(Lanes[0], 4, 1, time.Now()), letter(Lanes[1], 1, 0, time.Now()),
	}
	if err := bury(l, all...); err != nil {
		t.Fatal(err)
	}
	for i, after := range all {
		left := all[i+1:]
		err := l.DeadAfter(after.Lane, after.Seq, after.Item, func(d DeadLetter) error {
			if len(left) == 0 || d.Lane != left[0].Lane || d.Seq != left[0].Seq || d.Item != left[0].Item {
				t.Fatalf("after %d: got %s %d %d", i, d.Lane, d.Seq, d.Item)
			}
			left = left[1:]
			return nil
		})
		if err != nil || len(left) > 0 {
			t.Errorf("after %d: %d are left, %v", i, len(left), err)
		}
	}
}

func TestUnbury(t *testing.T) {
	config := memConfig()
	l, err := Open(config, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	one, two := letter(Bulk, 1, 0, time.Now()), letter(Express, 1, 0, time.Now())
	if err := bury(l, one, two); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing to remove
		if err := l.Unbury(one); err != nil {
			t.Fatal(err)
		}
	}
	closeLog(t, l)
	l = open(t, config)
	if l.deadCount.Load() != 1 {
		t.Errorf("%d dead letters counted", l.deadCount.Load())
	}
	if err := l.Unbury(two, one); err != nil {
		t.Fatal(err)
	}
	if err := l.Dead(func(d DeadLetter) error { t.Errorf("still there: %+v", d); return nil }); err != nil {
		t.Fatal(err)
	}
	if n, b := l.deadCount.Load(), l.deadBytes.Load(); n != 0 || b != 0 {
		t.Errorf("%d dead letters, %d bytes counted", n, b)
	}
}
