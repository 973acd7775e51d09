package stream

import (
	"cmp"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"spillway/dispatch/store"
)

// hub hands every new event to every live socket that may see it. It follows the
// feed once for all of them, builds one frame an event, decides once a filter, and
// puts the frame on one tape for all sockets with that filter.
type hub struct {
	// chunk is how many events are handed out before the writers get a turn, so
	// that one long round does not overrun sockets that keep up.
	chunk int
	// overruns counts queues that ran full.
	overruns prometheus.Counter
	crew     *crew
	// tracer is nil where nothing is traced.
	tracer Tracer

	mu sync.Mutex
	// read is when the round was, where events are traced.
	read time.Time
	// roused are the sockets to hand to the crew, all at once.
	roused []*socket
	// members are the sockets that need the hub, live or not, each with the
	// partitions that went back since it last asked for the level. While there is
	// none vacant is closed, else occupied.
	members          map[*socket][]bool
	vacant, occupied chan struct{}

	// lost has, of each partition that ever went back, the limit when that was found:
	// an id with a watermark before it may name a place that was lost, whatever
	// stands there now.
	lost []store.Place

	// position is the last place seen of each partition, and complete how far
	// all are complete. A registered socket gets all that comes after both.
	position []store.Place
	complete store.Place
	// ready is closed once position and complete are known.
	ready   chan struct{}
	isReady bool
	groups  map[string]*group
}

// group is the sockets whose filters decide the same, and who take the same frames.
type group struct {
	filter  *filter
	tape    *tape
	sockets map[*socket]struct{}
}

func newHub(partitions, queue int, overruns prometheus.Counter, crew *crew) *hub {
	vacant := make(chan struct{})
	close(vacant)
	return &hub{
		members:  make(map[*socket][]bool),
		vacant:   vacant,
		occupied: make(chan struct{}),
		chunk:    max(queue/4, 1),
		overruns: overruns,
		crew:     crew,
		lost:     make([]store.Place, partitions),
		position: make([]store.Place, partitions),
		ready:    make(chan struct{}),
		groups:   make(map[string]*group),
	}
}

// restart sets a new place in the feed. The sockets registered cannot know what
// they miss: they catch up from the store, and find any gap there. back tells the
// partitions that went back; nil for none. No place beyond limit was given out.
func (h *hub) restart(from []store.Place, back []bool, limit store.Place) {
	h.mu.Lock()
	defer h.mu.Unlock()
	limit = later(limit, h.complete)
	h.forgetLocked()
	copy(h.position, from)
	h.wentBackLocked(back, limit)
}

// forget makes the hub know no place, until it is restarted. A socket that is
// registered all the same catches up then.
func (h *hub) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forgetLocked()
}

func (h *hub) forgetLocked() {
	clear(h.position)
	h.complete = store.Place{}
	if h.isReady {
		h.ready, h.isReady = make(chan struct{}), false
	}
	for _, g := range h.groups {
		for k := range g.sockets {
			k.queue.stop(restarted)
			k.wake()
		}
	}
	clear(h.groups)
}

// from is the last place seen of each partition, and where to follow the feed on:
// the partitions that were idle from where all are complete.
func (h *hub) from() (position, from []store.Place) {
	h.mu.Lock()
	defer h.mu.Unlock()
	from = slices.Clone(h.position)
	for p := range from {
		from[p] = later(from[p], h.complete)
	}
	return slices.Clone(h.position), from
}

// emit hands out a round. The feed calls it, one round after the other.
func (h *hub) emit(round store.Round) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.groups) > 0 {
		frames := h.frames(round)
		if h.tracer != nil {
			h.read = time.Now()
		}
		for len(frames) > 0 {
			n := min(h.chunk, len(frames))
			h.distribute(frames[:n])
			h.passed(frames[:n])
			if frames = frames[n:]; len(frames) > 0 {
				h.mu.Unlock()
				runtime.Gosched()
				h.mu.Lock()
			}
		}
	} else {
		for p, entries := range round.Entries {
			if n := len(entries); n > 0 {
				h.position[p] = later(h.position[p], entries[n-1].Place)
			}
		}
	}
	h.complete = later(h.complete, round.Complete)
	if !h.isReady {
		h.isReady = true
		close(h.ready)
	}
	return nil
}

// frames are the events of a round, in the order of their places.
func (h *hub) frames(round store.Round) []frame {
	n := 0
	for _, entries := range round.Entries {
		n += len(entries)
	}
	frames := make([]frame, 0, n)
	for p, entries := range round.Entries {
		for i := range entries {
			m := mark{partition: p, place: entries[i].Place, watermark: h.complete}
			frames = append(frames, frame{mark: m, entry: &entries[i]})
		}
	}
	slices.SortStableFunc(frames, func(a, b frame) int {
		if c := a.mark.place.Compare(b.mark.place); c != 0 {
			return c
		}
		return cmp.Compare(a.mark.partition, b.mark.partition)
	})
	return frames
}

func (h *hub) passed(frames []frame) {
	for i := range frames {
		m := &frames[i].mark
		h.position[m.partition] = later(h.position[m.partition], m.place)
	}
}

// distribute puts a run of frames on all tapes, and wakes the sockets. Holds mu.
func (h *hub) distribute(frames []frame) {
	limit := chunkBudget / max(len(h.groups), 1)
	most, now := int64(0), time.Now().UnixNano()
	var events []*traced
	if h.tracer != nil {
		events = h.trace(frames)
	}
	for key, g := range h.groups {
		added, bytes := g.put(frames, events, now, limit)
		if added == 0 {
			continue
		}
		most = max(most, bytes)
		for k := range g.sockets {
			if k.queue.overruns(g.tape, added, bytes) {
				h.overruns.Inc()
				k.queue.stop(overrun)
				delete(g.sockets, k)
			}
			if k.rouse() {
				h.roused = append(h.roused, k)
			}
		}
		if len(g.sockets) == 0 {
			delete(h.groups, key)
		}
	}
	for _, event := range events {
		if event != nil {
			event.count()
		}
	}
	h.crew.add(int64(len(frames)), most, h.roused...)
	clear(h.roused)
	h.roused = h.roused[:0]
}

// put adds what the group may see to its tape, as read at the time. events are the
// traced ones among the frames, nil for none.
func (g *group) put(frames []frame, events []*traced, at int64, limit int) (added, bytes int64) {
	for i := range frames {
		f := &frames[i]
		if !g.filter.matches(f.entry.Type, f.entry.Payload, &f.facts) {
			continue
		}
		if events != nil && events[i] != nil {
			events[i].sockets += len(g.sockets)
			g.tape.traces.add(g.tape.frames.Load()+1, events[i])
		}
		wire := f.wire(g.filter.deflate)
		g.tape.append(wire, f.mark, at, limit)
		added++
		bytes += int64(len(wire))
	}
	return added, bytes
}

// positionOf is where a live socket is that was sent all there was for it; false
// where it was not, or is no longer fed.
func (h *hub) positionOf(k *socket) (store.Place, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.complete, h.isReady && k.queue.drained()
}

// level is where the hub is; false while it does not know.
func (h *hub) level(k *socket) (level, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.levelLocked(k)
}

func (h *hub) levelLocked(k *socket) (level, bool) {
	if !h.isReady {
		return level{}, false
	}
	return level{target: slices.Clone(h.position), complete: h.complete, back: h.takeBackLocked(k)}, true
}

// completeTo is how far all partitions are complete; zero while that is not known.
func (h *hub) completeTo() store.Place {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.complete
}

// register lets the socket's queue flow: it gets every event after the level
// that is returned.
func (h *hub) register(k *socket) (level, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at, ok := h.levelLocked(k)
	if !ok {
		return level{}, false
	}
	g := h.groups[k.filter.key]
	if g == nil {
		g = &group{filter: k.filter, tape: newTape(), sockets: make(map[*socket]struct{})}
		if h.tracer != nil {
			g.tape.traces = newTraces()
		}
		h.groups[k.filter.key] = g
	}
	g.sockets[k] = struct{}{}
	k.queue.begin(g.tape)
	return at, true
}

// unregisterLocked stops what register began.
func (h *hub) unregisterLocked(k *socket) {
	g := h.groups[k.filter.key]
	if g == nil {
		return
	}
	delete(g.sockets, k)
	if len(g.sockets) == 0 {
		delete(h.groups, k.filter.key)
	}
}

// whenReady is closed once the hub knows where it is.
func (h *hub) whenReady() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ready
}
