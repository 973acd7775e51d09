package embedded

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"spillway/dispatch/store"
)

// TestGoldenDeliveries: what is on disk of deliveries stays readable.
func TestGoldenDeliveries(t *testing.T) {
	s := store.Share{Endpoint: "crm", Partition: 3}
	p := store.Parked{Contact: 1, First: time.UnixMilli(2), Due: time.UnixMilli(258), Attempts: 4}
	meta := "0000000000000001" + "0000000000000002" + "0000000000000102" + "00000004"
	for name, tt := range map[string]struct {
		got  []byte
		want string
	}{
		"share key":  {sharePrefix(tagShare, s), "44" + "63726d00" + "0003"},
		"share":      {shareValue(1, 2, 3), "0000000000000001" + "0000000000000002" + "0000000000000003"},
		"parked key": {deliveryKey(tagParked, s, 0x0102030405060708), "50" + "63726d00" + "0003" + "0102030405060708"},
		"parked":     {appendParked(nil, &p), meta},
		"dead":       {deadValue(&store.Dead{Parked: p, Died: time.UnixMilli(5), Reason: "410"}), meta + "0000000000000005" + "343130"},
	} {
		if got := hex.EncodeToString(tt.got); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

func TestDeliveryRoundTrip(t *testing.T) {
	key := store.Share{Endpoint: "a-b_C", Partition: 1023}
	k := deliveryKey(tagDead, key, 7<<seqBits|9)
	if got, id, err := parseDeliveryKey(k); err != nil || got != key || id != 7<<seqBits|9 {
		t.Errorf("key: %+v, %d, %v", got, id, err)
	}
	want := store.Dead{
		Parked: store.Parked{
			Place: store.Place{Ms: 7, Seq: 9}, Contact: 1 << 63, Attempts: 1 << 31,
			First: time.UnixMilli(1_767_225_600_123).UTC(), Due: time.UnixMilli(1).UTC(),
		},
		Reason: "status 400", Died: time.UnixMilli(2).UTC(),
	}
	v := deadValue(&want)
	got, err := parseDead(7<<seqBits|9, v)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	for n := range len(v) - len(want.Reason) {
		if _, err := parseDead(1, v[:n]); err == nil {
			t.Errorf("a dead delivery cut to %d bytes was read", n)
		}
	}
	for n := range k {
		if _, _, err := parseDeliveryKey(k[:n]); err == nil {
			t.Errorf("a key cut to %d bytes was read", n)
		}
	}
}

// mustAcquire takes a share, which has to be free.
func mustAcquire(t *testing.T, s *Store, endpoint string, partition int) store.Lease {
	t.Helper()
	lease, err := s.Acquire(t.Context(), store.Share{Endpoint: endpoint, Partition: partition}, "a", time.Hour, store.Place{})
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

// parkNext settles the events after the lease's cursor: all of them wait, but for
// every third, which is dead.
func parkNext(t *testing.T, s *Store, lease *store.Lease) {
	t.Helper()
	entries, err := s.Read(t.Context(), lease.Partition, lease.Cursor, 1<<20, 1<<30)
	if err != nil || len(entries) == 0 {
		t.Fatalf("%d events: %v", len(entries), err)
	}
	settlement := store.Settlement{Share: lease.Share, Token: lease.Token, From: lease.Cursor, To: entries[len(entries)-1].Place}
	for _, e := range entries {
		p := store.Parked{Place: e.Place, Contact: 1, First: time.UnixMilli(1), Due: time.UnixMilli(2), Attempts: 1}
		if e.UID[15]%3 == 0 {
			settlement.Dead = append(settlement.Dead, store.Dead{Parked: p, Entry: e, Reason: "status 400", Died: time.UnixMilli(3)})
		} else {
			settlement.Park = append(settlement.Park, store.ParkedEntry{Parked: p, Entry: e})
		}
	}
	if err := s.Settle(t.Context(), settlement); err != nil {
		t.Fatal(err)
	}
	lease.Cursor = settlement.To
}

// checkDeliveries checks that what waits or is dead of a share are the events up to
// its cursor, each once, and that its dead are counted.
func checkDeliveries(t *testing.T, s *Store, lease store.Lease) (n int) {
	t.Helper()
	have := make(map[store.Place][]byte)
	err := s.Waiting(t.Context(), lease, func(piece []store.Parked) error {
		for _, p := range piece {
			entries, err := s.Entries(t.Context(), lease.Share, []store.Place{p.Place})
			if err != nil {
				return err
			}
			have[p.Place] = entries[0].Payload
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	dead, err := s.DeadList(t.Context(), lease.Endpoint, nil, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if count, err := s.DeadCount(t.Context(), lease.Endpoint); err != nil || count != int64(len(dead)) {
		t.Errorf("%d dead counted, %d listed: %v", count, len(dead), err)
	}
	for _, d := range dead {
		if have[d.Place] != nil {
			t.Errorf("%v waits and is dead", d.Place)
		}
		have[d.Place] = d.Entry.Payload
	}
	entries, err := s.Read(t.Context(), lease.Partition, store.Place{}, 1<<20, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Place.Compare(lease.Cursor) <= 0 {
			if n++; !bytes.Equal(have[e.Place], e.Payload) {
				t.Errorf("%v is before the cursor, and neither waits nor is dead", e.Place)
			}
		}
	}
	if len(have) != n {
		t.Errorf("%d wait or are dead, %d stand before the cursor", len(have), n)
	}
	return n
}

// TestDeliveriesCrash: a crash takes events and what came of them together, down to
// any byte of Pebble's log.
func TestDeliveriesCrash(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	fs := vfs.NewCrashableMem()
	cfg := testConfig(fs)
	var last uint64 // applied before the crash
	lost, kept := 0, 0
	for turn := range 20 {
		s := mustOpen(t, cfg)
		cursors, err := s.Cursors(t.Context(), crashSource)
		if err != nil {
			t.Fatal(err)
		}
		seq := cursors[5].Seq
		// The lease of the process that crashed holds nobody up.
		lease, err := s.Acquire(t.Context(), store.Share{Endpoint: "crm", Partition: 5}, fmt.Sprint(turn), time.Hour, store.Place{})
		if err != nil {
			t.Fatal(err)
		}
		before := checkDeliveries(t, s, lease)
		if before != int(seq) && before != int(seq)-1 {
			t.Fatalf("%d deliveries of %d events", before, seq)
		}
		if seq < last {
			lost++
		}
		if seq > 0 {
			kept++
		}
		for range 40 {
			if err := applyRecordPlain(t, s, 5, seq, seq+1); err != nil {
				t.Fatal(err)
			}
			parkNext(t, s, &lease)
			seq++
		}
		last = seq
		fs = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: random.IntN(101), RNG: random})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		cfg.FS = fs
	}
	if lost == 0 || kept == 0 {
		t.Errorf("of the crashes %d took something, %d left something", lost, kept)
	}
}

// applyRecordPlain applies a record of one event.
func applyRecordPlain(t *testing.T, s *Store, partition int, from, to uint64) error {
	t.Helper()
	b := plainBatch(partition, from, to, 1)
	b.Events[0].UID[15] = byte(to)
	b.Events[0].Payload = fmt.Appendf(nil, `{"value":%q}`, bytes.Repeat([]byte{byte('a' + to%26)}, 1000))
	r, err := s.Apply(t.Context(), b)
	if err == nil && !r.Applied {
		err = errors.New("not applied")
	}
	return err
}

// TestForgetDeliveries: the events of a contact go, whether they wait or are dead,
// and those of others stay.
func TestForgetDeliveries(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	s := mustOpen(t, cfg)
	for seq, name := range []string{"x", "y", "x", "y", "x", "y"} {
		if _, err := applyPerson(s, 3, uint64(seq+1), name); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := s.Read(t.Context(), 3, store.Place{}, 100, 1<<20)
	if err != nil || len(entries) != 8 {
		t.Fatalf("%d events: %v", len(entries), err)
	}
	lease := mustAcquire(t, s, "crm", 3)
	settlement := store.Settlement{Share: lease.Share, Token: lease.Token, To: entries[7].Place}
	for i, e := range entries {
		p := store.Parked{Place: e.Place, First: time.UnixMilli(1), Due: time.UnixMilli(1)}
		if i < 4 {
			settlement.Park = append(settlement.Park, store.ParkedEntry{Parked: p, Entry: e})
		} else {
			settlement.Dead = append(settlement.Dead, store.Dead{Parked: p, Entry: e, Died: time.UnixMilli(1)})
		}
	}
	if err := s.Settle(t.Context(), settlement); err != nil {
		t.Fatal(err)
	}
	lease.Cursor = settlement.To
	if n, err := s.Forget(t.Context(), "1", "49x"); err != nil || n != 8 {
		t.Fatalf("forgot %d, want 4 events and as many deliveries: %v", n, err)
	}
	if n := checkDeliveries(t, s, lease); n != 4 {
		t.Errorf("%d deliveries are left, want those of 4 events", n)
	}
	// What is left of a contact may be deliveries alone.
	if n, err := s.Forget(t.Context(), "1", "49x"); !errors.Is(err, store.ErrNoContact) {
		t.Errorf("forgot %d again: %v", n, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, cfg)
	checkDeliveries(t, s, mustAcquire(t, s, "crm", 3))
}

// TestEntriesStayValid: what is given out does not lie in memory that the next read
// uses.
func TestEntriesStayValid(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	cfg.CacheBytes = 1 << 10
	s := mustOpen(t, cfg)
	lease := mustAcquire(t, s, "crm", 5)
	settlement := store.Settlement{Share: lease.Share, Token: lease.Token}
	var places []store.Place
	for i := range uint64(50) {
		p := store.Place{Ms: i + 1}
		places = append(places, p)
		settlement.Park = append(settlement.Park, store.ParkedEntry{
			Parked: store.Parked{Place: p}, Entry: store.Entry{Place: p, Payload: bytes.Repeat([]byte{byte(i)}, 20_000)},
		})
	}
	if err := s.Settle(t.Context(), settlement); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	entries, err := s.Entries(t.Context(), lease.Share, places)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range entries {
		if want := settlement.Park[i].Entry; e.Place != want.Place || !bytes.Equal(e.Payload, want.Payload) {
			t.Errorf("entry %d: %v, %d bytes that begin with %x", i, e.Place, len(e.Payload), e.Payload[0])
		}
	}
}
