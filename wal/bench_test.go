package wal

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"
)

// BenchmarkAppend has many goroutines append statuses of 600 bytes, as the
// handlers of so many connections do, to a real disk.
func BenchmarkAppend(b *testing.B) {
	for _, goroutines := range []int{64, 512} {
		b.Run(fmt.Sprintf("goroutines=%d", goroutines), func(b *testing.B) {
			l := openAt(b, DefaultConfig(), b.TempDir())
			record := testRecord(600)
			b.SetBytes(int64(recordSize(&record)))
			b.SetParallelism(goroutines / 2)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := l.Append(Bulk, record); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// BenchmarkRead reads what BenchmarkAppend would write.
func BenchmarkRead(b *testing.B) {
	l := openAt(b, DefaultConfig(), b.TempDir())
	appendMany(b, l, Bulk, 50_000, 600)
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; {
		r := l.Reader(Bulk, 1)
		for n := 0; n < 50_000 && done < b.N; {
			records, err := r.Next(context.Background(), 1000, 1<<20)
			if err != nil {
				b.Fatal(err)
			}
			n += len(records)
			done += len(records)
		}
		r.Close()
	}
}

func testRecord(size int) Record {
	return Record{
		Received:  time.Now(),
		App:       "default",
		Signature: bytes.Repeat([]byte{7}, 32),
		Body:      bytes.Repeat([]byte{'x'}, size),
	}
}
