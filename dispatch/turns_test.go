package dispatch

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"spillway/wal"
)

// TestTurns queues both lanes behind a busy decoder: express goes first, bulk
// gets one turn in five.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns()
		if err := turns.take(t.Context(), wal.Bulk); err != nil {
			t.Fatal(err)
		}
		var order strings.Builder
		for range 10 {
			for lane, letter := range map[wal.Lane]string{wal.Express: "e", wal.Bulk: "b"} {
				go func() {
					if turns.take(t.Context(), lane) == nil {
						order.WriteString(letter)
						turns.done()
					}
				}()
			}
		}
		synctest.Wait()
		turns.done()
		synctest.Wait()
		if got, want := order.String(), "eeeebeeeebeebbbbbbbb"; got != want {
			t.Errorf("turns went %s, want %s", got, want)
		}
		if turns.busy {
			t.Error("a turn was not given back")
		}
	})
}

func TestTurnsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns()
		if err := turns.take(t.Context(), wal.Express); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			if err := turns.take(ctx, wal.Bulk); !errors.Is(err, context.Canceled) {
				t.Errorf("take with a cancelled context: %v", err)
			}
		}()
		synctest.Wait()
		cancel()
		synctest.Wait()
		turns.done()
		if err := turns.take(t.Context(), wal.Bulk); err != nil {
			t.Fatal(err)
		}
	})
}
