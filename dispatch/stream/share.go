package stream

import (
	"crypto/sha256"
	"strings"
	"sync"
)

// share tells one token from others. It is a hash, so that no token stays in memory.
type share [sha256.Size]byte

// shareOf hashes what is signed of a token, without the signature, which may be
// written in more than one way.
func shareOf(token string) share {
	if end := strings.LastIndexByte(token, '.'); end >= 0 {
		token = token[:end]
	}
	return sha256.Sum256([]byte(token))
}

// shares counts the open sockets of each token, so that the holder of one cannot
// take the room of all others.
type shares struct {
	most int

	mu sync.Mutex
	// open has no zeros: it is as long as there are tokens in use.
	open map[share]int
}

func newShares(most int) *shares {
	return &shares{most: most, open: make(map[share]int)}
}

// take counts a socket in; false where the token has as many as it may. What was
// taken is to be given back once.
func (s *shares) take(of share) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[of] >= s.most {
		return false
	}
	s.open[of]++
	return true
}

func (s *shares) give(of share) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[of]--; s.open[of] == 0 {
		delete(s.open, of)
	}
}
