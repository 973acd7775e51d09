package dispatch

import (
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"spillway/dispatch/event"
	"spillway/wal"
)

// outage is a load through losses of power.
type outage struct {
	next atomic.Int64

	mu    sync.Mutex
	acked map[int]bool // by number of the message
	// crashed closes the book until the restart.
	crashed bool
}

// send appends messages of one customer until stop, and books what was acked.
func (o *outage) send(t *testing.T, log *wal.Log, customer int, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		number := int(o.next.Add(1))
		err := log.Append(wal.Express, wal.Record{
			Received: time.Now(), App: "default", Signature: make([]byte, 32), Body: []byte(messageBody(customer, number)),
		})
		if err != nil {
			t.Error(err)
			return
		}
		o.mu.Lock()
		if !o.crashed {
			o.acked[number] = true
		}
		o.mu.Unlock()
	}
}

func (o *outage) crash(fs *vfs.MemFS, random *rand.Rand) *vfs.MemFS {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.crashed = true
	return fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: random.IntN(101), RNG: random})
}

// TestPowerLoss loses power at random moments under log, store and dispatcher at
// once, with a random part of what was not synced. Log and store agree on what
// comes next: no record is skipped, none has its effect twice, and neither is
// taken for another one's.
func TestPowerLoss(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	rounds := 8
	if os.Getenv("SPILLWAY_TEST_FULL") != "" {
		rounds = 40
	}
	o := &outage{acked: map[int]bool{}}
	fs := vfs.NewCrashableMem()
	var node string
	for range rounds {
		r := newRigOf(t, fs, fs)
		if node == "" {
			node = r.log.Node()
		}
		r.start()
		o.crashed = false
		stop := make(chan struct{})
		var senders sync.WaitGroup
		for customer := range 6 {
			senders.Go(func() { o.send(t, r.log, customer, stop) })
		}
		time.Sleep(time.Duration(random.IntN(40_000)) * time.Microsecond)
		fs = o.crash(fs, random)
		close(stop)
		senders.Wait()
		r.close()
	}

	r := newRigOf(t, fs, fs)
	defer r.close()
	r.start()
	r.eventually("all dispatched", func() bool { return r.d.Behind() == [2]uint64{} })
	r.wantMessages(int(r.log.Head(wal.Express)))
	seen := map[int]bool{}
	for p := range testPartitions {
		for _, e := range r.events(p) {
			if e.Type == event.MessageNew {
				seen[atoi(field(e.Payload, `"text":"`))] = true
			}
		}
	}
	for number := range o.acked {
		if !seen[number] {
			t.Errorf("message %d was acked and is lost", number)
		}
	}
	if got := testutil.ToFloat64(r.d.metrics.renewals); got != 0 || r.log.Node() != node {
		t.Errorf("the log is taken for another one's: %v renewals", got)
	}
	t.Logf("%d losses of power, %d messages acked, %d seen", rounds, len(o.acked), len(seen))
	if len(o.acked) < rounds {
		t.Error("nothing was tested")
	}
}
