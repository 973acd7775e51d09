package ingest

import (
	"errors"
	"io"
	"math/bits"
	"sync"
	"sync/atomic"
)

// Why a body was not read to its end.
var (
	errTooLarge  = errors.New("body too large")
	errInFlight  = errors.New("too many bytes in flight")
	errTruncated = errors.New("body shorter than announced")
)

const (
	// The smallest buffer; each class has twice the size of the one before.
	minBufferBits = 12
	// How far a buffer grows at once, as a power of two. A large body is copied
	// little, and no sender gets more than four times what it has sent, or the
	// smallest buffer.
	growBits = 2
	// maxEmptyReads is how often a reader may give nothing and no error.
	maxEmptyReads = 100
)

// buffers lends memory for bodies and counts what is lent: the bytes in flight.
type buffers struct {
	limit    int64
	inFlight atomic.Int64
	// classes[i] lends 1 << (minBufferBits + i) bytes.
	classes []sync.Pool
}

func newBuffers(limit, maxBody int64) *buffers {
	b := &buffers{limit: limit, classes: make([]sync.Pool, classOf(maxBody)+1)}
	for i := range b.classes {
		b.classes[i].New = func() any {
			buffer := make([]byte, classSize(i))
			return &buffer
		}
	}
	return b
}

func classSize(class int) int64 { return 1 << (minBufferBits + class) }

// classOf is the smallest class that holds size bytes.
func classOf(size int64) int {
	return max(bits.Len64(uint64(max(size, 1)-1))-minBufferBits, 0)
}

// reserve counts n bytes as in flight, unless that is beyond the limit.
func (b *buffers) reserve(n int64) bool {
	if b.inFlight.Add(n) > b.limit {
		b.inFlight.Add(-n)
		return false
	}
	return true
}

// body is one request's body in lent memory, which grows as bytes come in, not
// with what was announced. The zero body holds nothing.
type body struct {
	from  *buffers
	lent  *[]byte
	class int
	// length is how many bytes of lent are the body's.
	length int64
}

func (b *body) bytes() []byte {
	if b.lent == nil {
		return nil
	}
	return (*b.lent)[:b.length]
}

// release gives the memory back; the bytes are no longer valid.
func (b *body) release() {
	if b.lent != nil {
		b.from.give(b.lent, b.class)
	}
	*b = body{}
}

func (b *buffers) give(lent *[]byte, class int) {
	b.classes[class].Put(lent)
	b.inFlight.Add(-classSize(class))
}

// grow makes room for more bytes, no more than are needed to hold want.
func (b *body) grow(want int64) error {
	class := 0
	if b.lent != nil {
		class = max(b.class+1, min(b.class+growBits, classOf(want)))
	}
	if !b.from.reserve(classSize(class)) {
		return errInFlight
	}
	lent := b.from.classes[class].Get().(*[]byte)
	if b.lent != nil {
		copy(*lent, (*b.lent)[:b.length])
		b.from.give(b.lent, b.class)
	}
	b.lent, b.class = lent, class
	return nil
}

// read takes a body from source until its end: at most limit bytes, and exactly
// announced ones, which are no more than limit, where that is not negative.
func (b *body) read(source io.Reader, announced, limit int64) error {
	want := limit
	if announced >= 0 {
		want = announced
	}
	for empty := 0; b.length < want; {
		if b.lent == nil || b.length == int64(len(*b.lent)) {
			if err := b.grow(want); err != nil {
				return err
			}
		}
		n, err := source.Read((*b.lent)[b.length:min(int64(len(*b.lent)), want)])
		b.length += int64(n)
		if err == io.EOF {
			// A stream whose sender left ends like any other.
			if b.length < announced {
				return errTruncated
			}
			return nil
		}
		if err != nil {
			return err
		}
		if n > 0 {
			empty = 0
		} else if empty++; empty == maxEmptyReads {
			return io.ErrNoProgress
		}
	}
	if announced >= 0 {
		return nil
	}
	return b.expectEnd(source)
}

// expectEnd is errTooLarge where source has anything left.
func (b *body) expectEnd(source io.Reader) error {
	var probe [1]byte
	for range maxEmptyReads {
		n, err := source.Read(probe[:])
		switch {
		case n > 0:
			return errTooLarge
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
	return io.ErrNoProgress
}
