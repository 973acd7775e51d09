package subscribers

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// readBuffer is read at once at most, in bytes.
	readBuffer = 256 << 10
	// readyAtOnce bounds how many sockets are read before others may look at the
	// loop's figures.
	readyAtOnce = 256
	// wake is how often a loop looks whether it is to end, in milliseconds.
	wake = 50
)

// socket is one of a loop's; fd is -1 once it is closed.
type socket struct {
	fd     int
	ready  bool
	parser parser
}

// ending is why a socket closed.
type ending struct {
	code   int
	reason string
}

// loop reads a share of the sockets, in one goroutine.
type loop struct {
	options *Options
	epoll   int
	buffer  []byte
	numbers []int

	mu sync.Mutex
	// All below is under mu. sockets has at its place also those that are closed,
	// until a round begins: seen has so many words for each, from its place on.
	sockets []*socket
	ready   int
	open    int
	closing bool
	closes  map[int]Closed
	round   *Round
	seen    []uint64
	began   int // how many sockets there were when the round began
	count   Count

	// These are of the socket that is read.
	at     int
	now    time.Time
	failed *ending
}

func newLoop(o *Options) (*loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make epoll: %w", err)
	}
	return &loop{options: o, epoll: epoll, buffer: make([]byte, readBuffer), closes: map[int]Closed{}, count: Count{Latency: newHistogram()}}, nil
}

// add takes a socket over; early is what it brought already.
func (l *loop) add(fd int, early []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = len(l.sockets)
	l.sockets = append(l.sockets, &socket{fd: fd})
	l.open++
	l.now = time.Now()
	l.feed(early)
	if l.sockets[l.at].fd < 0 {
		return nil // and it is counted as closed
	}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(l.at)}); err != nil {
		return fmt.Errorf("watch socket: %w", err)
	}
	return nil
}

// run reads until the loop is closed.
func (l *loop) run() {
	events := make([]unix.EpollEvent, readyAtOnce)
	for {
		n, err := unix.EpollWait(l.epoll, events, wake)
		if err != nil && !errors.Is(err, unix.EINTR) {
			panic(fmt.Sprintf("wait for sockets: %v", err)) // a mistake in this file
		}
		if l.handle(events[:max(n, 0)]) {
			return
		}
	}
}

func (l *loop) handle(events []unix.EpollEvent) (closing bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range events {
		// A round may have begun since the wait, and moved the sockets.
		if l.at = int(events[i].Fd); l.at < len(l.sockets) {
			l.read()
		}
	}
	return l.closing
}

// read reads what a socket has, once: where there is more, epoll says so again.
func (l *loop) read() {
	s := l.sockets[l.at]
	if s.fd < 0 {
		return
	}
	n, err := unix.Read(s.fd, l.buffer)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
	case err != nil:
		l.end(ending{Abnormal, err.Error()})
	case n == 0:
		l.end(ending{Abnormal, "the connection ended"})
	default:
		l.now = time.Now()
		l.feed(l.buffer[:n])
	}
}

func (l *loop) feed(data []byte) {
	l.count.Bytes += int64(len(data))
	l.failed = nil
	if err := l.sockets[l.at].parser.feed(data, l); err != nil {
		l.failed = &ending{Abnormal, err.Error()}
	}
	if l.failed != nil {
		l.end(*l.failed)
	}
}

// end closes the socket and notes why.
func (l *loop) end(why ending) {
	s := l.sockets[l.at]
	if s.ready {
		l.ready--
	}
	c := l.closes[why.code]
	l.closes[why.code] = Closed{Count: c.Count + 1, Reason: cmp.Or(c.Reason, why.reason)}
	l.open--
	_ = unix.Close(s.fd) // which takes it out of the epoll as well
	*s = socket{fd: -1}
}

// message counts the events in a message.
func (l *loop) message(payload []byte) {
	l.count.Messages++
	if s := l.sockets[l.at]; !s.ready && l.options.Ready(payload) {
		s.ready = true
		l.ready++
	}
	if l.round == nil || l.at >= l.began {
		return
	}
	l.numbers = l.round.parse(payload, l.numbers[:0])
	size := words(len(l.round.sent))
	seen := l.seen[l.at*size:][:size]
	for _, number := range l.numbers {
		if number < 0 || number >= len(l.round.sent) {
			continue
		}
		word, bit := number/64, uint64(1)<<(number%64)
		if seen[word]&bit != 0 {
			l.count.Doubled++
			continue
		}
		seen[word] |= bit
		l.count.Events++
		l.count.Last = l.now
		latency := l.now.Sub(l.round.began) - time.Duration(l.round.sent[number].Load())
		_ = l.count.Latency.RecordValue(min(max(latency, minLatency), maxLatency).Microseconds()) // never out of bounds
	}
}

// control answers a ping and takes a close.
func (l *loop) control(opcode byte, payload []byte) {
	fd := l.sockets[l.at].fd
	switch opcode {
	case opPing:
		if _, err := unix.Write(fd, appendMasked(nil, opPong, payload)); err != nil {
			l.failed = &ending{Abnormal, "a pong could not be written: " + err.Error()}
		}
	case opClose:
		l.failed = &ending{code: noStatus}
		if len(payload) >= 2 {
			l.failed = &ending{int(binary.BigEndian.Uint16(payload)), string(payload[2:])}
		}
		_, _ = unix.Write(fd, appendMasked(nil, opClose, payload)) // it may have gone
	}
}

// begin begins a round with the sockets that are open, and forgets the others.
func (l *loop) begin(r *Round) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	open := l.sockets[:0]
	for _, s := range l.sockets {
		if s.fd < 0 {
			continue
		}
		event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(len(open))}
		if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_MOD, s.fd, &event); err != nil {
			return fmt.Errorf("watch socket: %w", err)
		}
		open = append(open, s)
	}
	clear(l.sockets[len(open):])
	l.sockets, l.began, l.round = open, len(open), r
	l.closes, l.count = map[int]Closed{}, Count{Latency: newHistogram()}
	if need := l.began * words(len(r.sent)); need <= cap(l.seen) {
		l.seen = l.seen[:need]
		clear(l.seen)
	} else {
		l.seen = make([]uint64, need)
	}
	return nil
}

// snapshot adds what the loop counted, and what is lost if that is asked for.
func (l *loop) snapshot(to *Count, lost bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	to.add(&l.count)
	if !lost || l.round == nil {
		return
	}
	size := words(len(l.round.sent))
	for at := range l.began {
		if n := l.round.missing(l.seen[at*size:][:size]); n > 0 {
			to.Lost += n
			to.Short++
		}
	}
}

// events is how many came in the round.
func (l *loop) events() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count.Events
}

// close ends the loop, which run then sees.
func (l *loop) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closing = true
}

// free closes what is left once run has returned.
func (l *loop) free() error {
	var errs []error
	for _, s := range l.sockets {
		if s.fd >= 0 {
			errs = append(errs, unix.Close(s.fd))
		}
	}
	return errors.Join(append(errs, unix.Close(l.epoll))...)
}
