package ingest

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestRefusalsAreLoggedOnce wants a line when refusing begins and one when it
// has ended, however many webhooks are refused and taken in between.
func TestRefusalsAreLoggedOnce(t *testing.T) {
	var out strings.Builder
	s := &Server{logger: slog.New(slog.NewTextHandler(&out, nil))}
	now := time.Now()
	s.resume(now) // nothing was refused yet
	for range 3 {
		s.complain(errors.New("full"))
		s.resume(now)
	}
	s.resume(now.Add(2 * complainEvery * time.Second))
	s.resume(now.Add(3 * complainEvery * time.Second))
	if refused, again := strings.Count(out.String(), "are refused"), strings.Count(out.String(), "taken again"); refused != 1 || again != 1 {
		t.Errorf("%d lines of refusal and %d of its end, want one each:\n%s", refused, again, &out)
	}
	s.complain(errors.New("full"))
	if strings.Count(out.String(), "are refused") != 2 {
		t.Errorf("a new refusal is not logged:\n%s", &out)
	}
}
