package dispatch

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
	"spillway/wal"
)

// TestRetry: letters of a record whose items can be decoded now, as after an
// update, give their events and go; the body stays as long as a letter does.
func TestRetry(t *testing.T) {
	r := newRig(t)
	body := `{"entry":[{"id":"waba","changes":[{"field":"messages","value":{"messages":[` +
		`{"from":"c1","id":"wamid.a","timestamp":"1","type":"text","text":{"body":"1"}},42]}}]}]}`
	at := time.Now()
	path := "entry[0].changes[0].value.messages[%d]"
	first := wal.DeadLetter{
		Lane: wal.Express, Seq: 7, Item: 0, Received: at, Path: fmt.Sprintf(path, 0), Reason: "once",
		Signature: make([]byte, 32), Body: []byte(body),
	}
	second := wal.DeadLetter{Lane: wal.Express, Seq: 7, Item: 1, Received: at, Path: fmt.Sprintf(path, 1), Reason: "for good"}
	if _, err := r.log.Bury(first, second); err != nil {
		t.Fatal(err)
	}
	retry := func(item int, force bool) (ReplayProgress, error) {
		return r.replayer().Retry(t.Context(), wal.Express, 7, item, force)
	}
	if _, err := retry(1, false); !errors.Is(err, ErrStillDead) {
		t.Errorf("an item that is malformed: %v", err)
	}
	if done, err := retry(0, false); err != nil || done.Fresh != 1 {
		t.Errorf("retried %+v, %v", done, err)
	}
	if _, err := r.log.DeadLetter(wal.Express, 7, 0); !errors.Is(err, wal.ErrNotFound) {
		t.Errorf("the letter is still there: %v", err)
	}
	if _, err := retry(0, false); !errors.Is(err, wal.ErrNotFound) {
		t.Errorf("retried what is gone: %v", err)
	}
	if heir, err := r.log.DeadLetter(wal.Express, 7, 1); err != nil || string(heir.Body) != body || heir.Reason != "for good" {
		t.Errorf("the other letter: %+v, %v", heir, err)
	}
	if _, err := retry(1, false); !errors.Is(err, ErrStillDead) {
		t.Errorf("an item that is malformed, with the body: %v", err)
	}
	r.wantMessages(1)

	old := first
	old.Seq, old.Received = 8, at.Add(-2*testWindow)
	if _, err := r.log.Bury(old); err != nil {
		t.Fatal(err)
	}
	if _, err := r.replayer().Retry(t.Context(), wal.Express, 8, 0, false); !errors.Is(err, ErrOld) {
		t.Errorf("an old letter: %v", err)
	}
	if done, err := r.replayer().Retry(t.Context(), wal.Express, 8, 0, true); err != nil || done.Replayed != 1 {
		t.Errorf("an old letter with force: %+v, %v", done, err)
	}
}

// TestRetryLate: an event beside the letter's item was long on its way, and the
// store may have forgotten it.
func TestRetryLate(t *testing.T) {
	r := newRig(t)
	letter := wal.DeadLetter{
		Lane: wal.Express, Seq: 7, Received: time.Now().Add(time.Hour - testWindow), Path: "entry[0].changes[0].value.messages[0]", Reason: "once",
	}
	letter.Body = webhookOf(fmt.Sprintf(`{"from":"c1","id":"wamid.a","timestamp":"%d","type":"text","text":{"body":"1"}}`,
		time.Now().Add(-time.Hour-testWindow).Unix()))
	if _, err := r.log.Bury(letter); err != nil {
		t.Fatal(err)
	}
	if _, err := r.replayer().Retry(t.Context(), wal.Express, 7, 0, false); !errors.Is(err, ErrOld) {
		t.Errorf("without force: %v", err)
	}
	r.wantLetters(7, string(letter.Body), letter.Path)
	if done, err := r.replayer().Retry(t.Context(), wal.Express, 7, 0, true); err != nil || done.Replayed != 1 {
		t.Errorf("with force: %+v, %v", done, err)
	}
}

// TestRetryKeepsWhatIsDead: a letter whose item can be decoded now but for a part
// of it goes, and that part has a letter of its own; nothing is in neither.
func TestRetryKeepsWhatIsDead(t *testing.T) {
	const good = `{"from":"c1","id":"wamid.%s","timestamp":"1","type":"text","text":{"body":"1"}}`
	path := func(item int) string { return fmt.Sprintf("entry[0].changes[0].value.messages[%d]", item) }
	letter := func(item int, path string) wal.DeadLetter { return wal.DeadLetter{Item: item, Path: path} }
	for seq, test := range map[uint64]struct {
		letters []wal.DeadLetter
		retry   int
		want    error
		left    []string
	}{
		1: {[]wal.DeadLetter{letter(wal.WholeRecord, "")}, wal.WholeRecord, nil, []string{path(1), path(3)}},
		2: {[]wal.DeadLetter{letter(0, "entry[0].changes[0]")}, 0, nil, []string{path(1), path(3)}},
		3: {[]wal.DeadLetter{letter(0, path(3)), letter(1, "entry[0]")}, 1, nil, []string{path(3), path(1)}},
		4: {[]wal.DeadLetter{letter(0, path(2)), letter(4, path(1))}, 0, nil, []string{path(1), path(3)}},
		5: {[]wal.DeadLetter{letter(0, path(3)+".text")}, 0, ErrStillDead, []string{path(3) + ".text"}},
		6: {[]wal.DeadLetter{letter(0, "entry[0].changes[0].value.messages[11]")}, 0, nil, []string{path(1), path(3)}},
	} {
		r := newRig(t)
		body := webhookOf(fmt.Sprintf(good, "a"), "42", fmt.Sprintf(good, "b"), "43")
		at := time.Now()
		for i := range test.letters {
			l := &test.letters[i]
			l.Lane, l.Seq, l.Received, l.App, l.Reason = wal.Express, seq, at, "default", "once"
		}
		test.letters[0].Body = body
		if _, err := r.log.Bury(test.letters...); err != nil {
			t.Fatal(err)
		}
		done, err := r.replayer().Retry(t.Context(), wal.Express, seq, test.retry, false)
		if !errors.Is(err, test.want) || err == nil && done.Fresh != 2 {
			t.Errorf("record %d: retried %+v, %v", seq, done, err)
		}
		r.wantLetters(seq, string(body), test.left...)
	}
}

// TestRetriesAtOnce tries all letters of a record at the same time: those that
// can be decoded now are gone for good, and the one that stays has the body.
func TestRetriesAtOnce(t *testing.T) {
	const good = 6
	r := newRig(t)
	r.store.hooks(func(*store.Batch) error {
		time.Sleep(2 * time.Millisecond) // all are under way then
		return nil
	}, nil)
	var items []string
	letters := make([]wal.DeadLetter, good+1)
	at := time.Now()
	for i := range letters {
		items = append(items, fmt.Sprintf(`{"from":"c1","id":"wamid.%d","timestamp":"1","type":"text","text":{"body":"1"}}`, i))
		letters[i] = wal.DeadLetter{
			Lane: wal.Express, Seq: 7, Item: i, Received: at, Reason: "once",
			Path: fmt.Sprintf("entry[0].changes[0].value.messages[%d]", i),
		}
	}
	items[good] = "42"
	letters[0].Body = webhookOf(items...)
	if _, err := r.log.Bury(letters...); err != nil {
		t.Fatal(err)
	}
	replayer := r.replayer()
	var running sync.WaitGroup
	for i := range letters {
		running.Go(func() {
			if _, err := replayer.Retry(t.Context(), wal.Express, 7, i, false); (err != nil) != (i == good) {
				t.Errorf("item %d: %v", i, err)
			}
		})
	}
	running.Wait()
	r.wantLetters(7, string(letters[0].Body), letters[good].Path)
	if n := r.count(event.MessageNew); n != good {
		t.Errorf("%d messages, want %d", n, good)
	}
}

// webhookOf holds messages.
func webhookOf(messages ...string) []byte {
	return fmt.Appendf(nil, `{"entry":[{"id":"waba","changes":[{"field":"messages","value":{"messages":[%s]}}]}]}`, strings.Join(messages, ","))
}

// wantLetters wants the dead letters of a record to have these paths, and the
// first of them alone its body.
func (r *rig) wantLetters(seq uint64, body string, paths ...string) {
	r.t.Helper()
	var found []string
	err := r.log.DeadOf(wal.Express, seq, func(d wal.DeadLetter) error {
		if has := len(d.Body) > 0; has != (len(found) == 0) || has && string(d.Body) != body {
			r.t.Errorf("the letter at %s has the body %q", d.Path, d.Body)
		}
		found = append(found, d.Path)
		return nil
	})
	if err != nil || !slices.Equal(found, paths) {
		r.t.Errorf("letters at %q, %v, want %q", found, err, paths)
	}
}

// TestRetryOfAStranger: the log has lost its tail, so that a letter's sequence
// is another record's now: neither that record nor a letter of it is decoded in
// the place of the letter's own.
func TestRetryOfAStranger(t *testing.T) {
	r := newRig(t)
	r.message(1)
	lost := wal.DeadLetter{
		Lane: wal.Express, Seq: 1, Item: 1, Received: time.Now().Add(-time.Minute),
		Path: "entry[0].changes[0].value.messages[1]", Reason: "once",
	}
	stranger := lost
	stranger.Item, stranger.Received, stranger.Body = 0, time.Now(), []byte(`{"entry":[]}`)
	for name, letters := range map[string][]wal.DeadLetter{"a record": {lost}, "a letter": {stranger, lost}} {
		if _, err := r.log.Bury(letters...); err != nil {
			t.Fatal(err)
		}
		if _, body, err := BodyOf(t.Context(), r.log, lost); err != nil || body != nil {
			t.Errorf("%s: body %s, %v", name, body, err)
		}
		if done, err := r.replayer().Retry(t.Context(), wal.Express, 1, 1, false); err == nil {
			t.Errorf("%s: retried %+v", name, done)
		}
	}
	if n := r.count(event.MessageNew); n != 0 {
		t.Errorf("%d messages of a stranger's record", n)
	}
}
