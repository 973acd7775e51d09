package main

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestWithin: a part that does not end, as where the store's disk is full, must
// not keep the process from ending.
func TestWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if !within(time.Second, func() { time.Sleep(999 * time.Millisecond) }) {
			t.Error("what ends in time is left behind")
		}
		began, hang := time.Now(), make(chan struct{})
		if within(time.Second, func() { <-hang }) || time.Since(began) != time.Second {
			t.Errorf("waited %s for what does not end, want 1s", time.Since(began))
		}
		close(hang)
	})
}
