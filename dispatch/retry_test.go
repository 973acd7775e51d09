package dispatch

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"spillway/dispatch/event"
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
		letter, err := r.log.DeadLetter(wal.Express, 7, item)
		if err != nil {
			t.Fatal(err)
		}
		return r.replayer().Retry(t.Context(), letter, force)
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
	if _, err := r.replayer().Retry(t.Context(), old, false); !errors.Is(err, ErrOld) {
		t.Errorf("an old letter: %v", err)
	}
	if done, err := r.replayer().Retry(t.Context(), old, true); err != nil || done.Replayed != 1 {
		t.Errorf("an old letter with force: %+v, %v", done, err)
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
		if done, err := r.replayer().Retry(t.Context(), lost, false); err == nil {
			t.Errorf("%s: retried %+v", name, done)
		}
	}
	if n := r.count(event.MessageNew); n != 0 {
		t.Errorf("%d messages of a stranger's record", n)
	}
}
