package meta

import (
	"testing"
	"time"
)

// BenchmarkDecode measures whole webhooks, from body to events.
func BenchmarkDecode(b *testing.B) {
	bodies := []struct {
		name string
		body []byte
	}{
		{"status", []byte(campaignStatus)},
		{"text", []byte(textMessage)},
		{"100 statuses", statuses(100)},
	}
	for _, bench := range bodies {
		b.Run(bench.name, func(b *testing.B) {
			b.SetBytes(int64(len(bench.body)))
			b.ReportAllocs()
			for b.Loop() {
				if events, dead := Decode(time.Time{}, bench.body); len(events) == 0 || len(dead) > 0 {
					b.Fatalf("%d events, dead letters %v", len(events), dead)
				}
			}
		})
	}
}
