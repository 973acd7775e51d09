package dispatch

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"spillway/dispatch/event"
	"spillway/dispatch/store"
	"spillway/wal"
)

const testWindow = 24 * time.Hour

func (r *rig) replayer() *Replayer {
	r.t.Helper()
	p, err := NewReplayer(ReplayConfig{Window: testWindow}, r.log, r.store)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *rig) replay(q ReplayRequest) ReplayProgress {
	r.t.Helper()
	steps := 0
	done, err := r.replayer().Replay(r.t.Context(), q, func(ReplayProgress) { steps++ })
	if err != nil {
		r.t.Fatal(err)
	}
	if done.Records > 0 && steps == 0 {
		r.t.Error("no progress was told")
	}
	return done
}

// appendOld appends a message that was received some time ago.
func (r *rig) appendOld(ago time.Duration) {
	r.t.Helper()
	r.appendLate(ago, ago)
}

// appendLate appends a message that was sent and received some time ago.
func (r *rig) appendLate(sent, received time.Duration) {
	r.t.Helper()
	r.next++
	at := time.Now().Add(-received)
	body := fmt.Sprintf(`{"entry":[{"id":"waba","changes":[{"field":"messages","value":{"messages":[{"from":"c1","id":"wamid.%d","timestamp":"%d","type":"text","text":{"body":"%d"}}]}}]}]}`,
		r.next, time.Now().Add(-sent).Unix(), r.next)
	err := r.log.Append(wal.Express, wal.Record{Received: at, App: "default", Signature: make([]byte, 32), Body: []byte(body)})
	if err != nil {
		r.t.Fatal(err)
	}
}

// TestReplayBesideDispatching: records are replayed while they and others are
// dispatched; each comes out once, and those after it in order.
func TestReplayBesideDispatching(t *testing.T) {
	r := newRig(t)
	r.messages(200)
	r.start()
	for range 5 {
		r.messages(100)
		done := r.replay(ReplayRequest{Lane: wal.Express, From: 100})
		if done.Fresh+done.Duplicate != done.Records || done.Seq != done.To || done.Seq+done.Undispatched != r.log.Head(wal.Express) {
			t.Errorf("replayed %+v", done)
		}
	}
	r.eventually("level", func() bool { return r.d.Behind() == [2]uint64{} })
	r.wantMessages(700)
	if done := r.replay(ReplayRequest{Lane: wal.Express}); done.Duplicate != 700 || done.Records != 700 {
		t.Errorf("a replay of what is known: %+v", done)
	}
	if n := r.count(event.MessageNew); n != 700 {
		t.Errorf("%d messages after the replay, want 700", n)
	}
}

// TestReplayOfABacklog has records that are not dispatched yet: they are left to
// dispatching, so that no newer event comes before an older one.
func TestReplayOfABacklog(t *testing.T) {
	r := newRig(t)
	r.status("wamid.s", "sent")
	r.status("wamid.s", "read")
	for range 40 {
		r.message(1)
	}
	for _, q := range []ReplayRequest{{Lane: wal.Express}, {Lane: wal.Express, From: 30}, {Lane: wal.Bulk, From: 2}} {
		done := r.replay(q)
		if from := max(q.From, 1); done.Records != 0 || done.Seq != from-1 || done.Undispatched != r.log.Head(q.Lane)-done.Seq {
			t.Errorf("replayed %+v", done)
		}
	}
	_, err := r.replayer().Replay(t.Context(), ReplayRequest{Lane: wal.Express, From: 30, To: 35}, nil)
	if !errors.Is(err, ErrUndispatched) || !strings.Contains(err.Error(), "express record 35, dispatching has come to 0") {
		t.Errorf("replayed to 35: %v", err)
	}
	r.start()
	r.eventually("level", func() bool { return r.d.Behind() == [2]uint64{} })
	r.wantMessages(40)
	for p := range testPartitions {
		for _, e := range r.events(p) {
			if strings.Contains(string(e.Payload), `"stale"`) {
				t.Errorf("stale: %s", e.Payload)
			}
		}
	}
	if done := r.replay(ReplayRequest{Lane: wal.Express, From: 30}); done.Duplicate != 11 || done.Undispatched != 0 {
		t.Errorf("replayed %+v", done)
	}
}

// TestReplayRepairs: a store whose cursors have passed records that it lacks
// gets their events, and nothing else.
func TestReplayRepairs(t *testing.T) {
	r := newRig(t)
	r.messages(50)
	r.status("wamid.s", "read")
	for _, lane := range wal.Lanes {
		hash, err := r.log.Hash(lane, r.log.Head(lane))
		if err != nil {
			t.Fatal(err)
		}
		r.setCursors(lane, store.Cursor{Seq: r.log.Head(lane), Hash: hash})
	}
	r.start()
	r.eventually("level", func() bool { return r.d.Behind() == [2]uint64{} })
	if n := r.count(event.MessageNew); n != 0 {
		t.Fatalf("%d messages before the replay", n)
	}
	if done := r.replay(ReplayRequest{Lane: wal.Express, From: 1, To: 30}); done.Fresh != 30 || done.Seq != 30 {
		t.Errorf("replayed %+v", done)
	}
	if done := r.replay(ReplayRequest{Lane: wal.Express}); done.Fresh != 20 || done.Duplicate != 30 {
		t.Errorf("replayed %+v", done)
	}
	if done := r.replay(ReplayRequest{Lane: wal.Bulk}); done.Fresh != 1 {
		t.Errorf("replayed %+v", done)
	}
	r.wantMessages(50)
	if n := r.count(event.ContactNew); n != 20 {
		t.Errorf("%d new contacts, want 20", n)
	}
	if r.rewinds() != 0 {
		t.Error("a replay moved cursors")
	}
}

// setCursors gives a lane's partitions a cursor without its events.
func (r *rig) setCursors(lane wal.Lane, to store.Cursor) {
	r.t.Helper()
	source := store.Source{Node: r.log.Node(), Lane: lane.String()}
	for p := range testPartitions {
		if _, err := r.store.Apply(r.t.Context(), &store.Batch{Source: source, Partition: p, To: to}); err != nil {
			r.t.Fatal(err)
		}
	}
}

// TestReplayOfAnotherLog has a store that knows this log in another state, as
// before it lost its tail: nothing of it is known to be dispatched. A letter of a
// record that was lost does not stand for the record that has its sequence now.
func TestReplayOfAnotherLog(t *testing.T) {
	r := newRig(t)
	r.messages(3)
	lost := wal.DeadLetter{Lane: wal.Express, Seq: 2, Item: wal.WholeRecord, Received: time.Now().Add(-time.Hour), Reason: "once"}
	if _, err := r.log.Bury(lost); err != nil {
		t.Fatal(err)
	}
	r.setCursors(wal.Express, store.Cursor{Seq: 3, Hash: 1})
	if done := r.replay(ReplayRequest{Lane: wal.Express}); done.Records != 0 || done.Undispatched != 3 {
		t.Errorf("replayed %+v", done)
	}
	r.start() // which finds out
	r.wantMessages(3)
	r.eventually("level", func() bool { return r.d.Behind() == [2]uint64{} })
	if done := r.replay(ReplayRequest{Lane: wal.Express}); done.Duplicate != 3 || done.Dead != 0 {
		t.Errorf("replayed %+v", done)
	}
}

func TestReplayOld(t *testing.T) {
	r := newRig(t)
	for range 3 {
		r.appendOld(2 * testWindow)
	}
	r.messages(2)
	r.start()
	r.eventually("level", func() bool { return r.d.Behind() == [2]uint64{} })
	before := r.count(event.MessageNew)

	_, err := r.replayer().Replay(t.Context(), ReplayRequest{Lane: wal.Express}, nil)
	if !errors.Is(err, ErrOld) || !strings.Contains(err.Error(), "3 of the records, express 1 to 3") {
		t.Errorf("without force: %v", err)
	}
	if n := r.count(event.MessageNew); n != before {
		t.Errorf("%d messages after a refusal, want %d", n, before)
	}
	if done := r.replay(ReplayRequest{Lane: wal.Express, From: 4}); done.Duplicate != 2 {
		t.Errorf("the young ones: %+v", done)
	}
	if done := r.replay(ReplayRequest{Lane: wal.Express, Force: true}); done.Replayed != 3 || done.Duplicate != 2 {
		t.Errorf("with force: %+v", done)
	}
	if replayed := r.countReplayed(); replayed != 3 || r.count(event.MessageNew) != before+3 {
		t.Errorf("%d events are marked, %d messages", replayed, r.count(event.MessageNew))
	}
}

func (r *rig) countReplayed() (n int) {
	r.t.Helper()
	for p := range testPartitions {
		for _, e := range r.events(p) {
			if strings.HasSuffix(string(e.Payload), `,"replayed":true}`) {
				n++
			}
		}
	}
	return n
}

// TestReplayLate has a message that was long on its way: received within the
// window, but the store remembers it by its own time. The replay ends before it.
func TestReplayLate(t *testing.T) {
	r := newRig(t)
	r.messages(1)
	r.appendLate(testWindow+time.Hour, testWindow-time.Hour)
	r.messages(1)
	r.start()
	r.eventually("level", func() bool { return r.d.Behind() == [2]uint64{} })

	told := ReplayProgress{}
	done, err := r.replayer().Replay(t.Context(), ReplayRequest{Lane: wal.Express}, func(p ReplayProgress) { told = p })
	if !errors.Is(err, ErrOld) || !strings.Contains(err.Error(), "express record 2 has an event of 20") {
		t.Errorf("without force: %v", err)
	}
	if done.Seq != 1 || done.Records != 1 || done.Duplicate != 1 || told != done {
		t.Errorf("without force: %+v, told %+v", done, told)
	}
	if done := r.replay(ReplayRequest{Lane: wal.Express, From: 3}); done.Duplicate != 1 {
		t.Errorf("after it: %+v", done)
	}
	if done := r.replay(ReplayRequest{Lane: wal.Express, Force: true}); done.Replayed != 1 || done.Duplicate != 2 {
		t.Errorf("with force: %+v", done)
	}
	if replayed := r.countReplayed(); replayed != 1 || r.count(event.MessageNew) != 4 {
		t.Errorf("%d events are marked, %d messages", replayed, r.count(event.MessageNew))
	}
}

// TestReplayAgesMeanwhile has records that grow too old while they are replayed:
// without force none is marked, whatever the clock says.
func TestReplayAgesMeanwhile(t *testing.T) {
	const records = replayRecords + 1
	r := newRig(t)
	for range records {
		r.appendLate(100*testWindow, testWindow/2) // whose own time is not believed
	}
	r.start()
	r.eventually("level", func() bool { return r.d.Behind() == [2]uint64{} })
	now := time.Now()
	p, err := NewReplayer(ReplayConfig{Window: testWindow, Now: func() time.Time { return now }}, r.log, r.store)
	if err != nil {
		t.Fatal(err)
	}
	done, err := p.Replay(t.Context(), ReplayRequest{Lane: wal.Express}, func(ReplayProgress) { now = now.Add(testWindow) })
	if err != nil || done.Duplicate != records || r.countReplayed() != 0 {
		t.Errorf("replayed %+v, %v; %d events are marked", done, err, r.countReplayed())
	}
}

func TestReplayBounds(t *testing.T) {
	r := newRig(t)
	if done := r.replay(ReplayRequest{Lane: wal.Bulk}); done.Records != 0 {
		t.Errorf("an empty lane: %+v", done)
	}
	r.messages(3)
	for _, c := range []struct {
		from, to uint64
		want     error
	}{{2, 4, wal.ErrBeyond}, {3, 2, nil}} {
		_, err := r.replayer().Replay(t.Context(), ReplayRequest{Lane: wal.Express, From: c.from, To: c.to}, nil)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%d to %d: %v", c.from, c.to, err)
		}
	}
}

// TestBehind never says level too early.
func TestBehind(t *testing.T) {
	r := newRig(t)
	r.store.away(3)
	r.messages(60)
	r.start()
	// Every customer's messages but those of one partition are out.
	want := 0
	for i := range 60 {
		if event.Partition(fmt.Sprintf("c%d", i%20), testPartitions) != 3 {
			want++
		}
	}
	r.eventually("the others", func() bool { return r.count(event.MessageNew) == want })
	time.Sleep(5 * r.d.cfg.WatchInterval)
	if b := r.d.Behind(); b[wal.Express] == 0 || b[wal.Bulk] != 0 {
		t.Errorf("behind %v with a partition away", b)
	}
	r.store.hooks(nil, nil)
	r.eventually("level", func() bool { return r.d.Behind() == [2]uint64{} })
	r.wantMessages(60)
}
