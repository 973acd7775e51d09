package campaign

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// Streams reads events from a receiver's Redis, as a program does that has no
// consumer group.
type Streams struct {
	Client goredis.UniversalClient
	Prefix string
}

const (
	readCount = 1000
	readBlock = 2 * time.Second
	readAgain = 100 * time.Millisecond
)

// Name is redis.
func (Streams) Name() string { return "redis" }

// Follow reads all partitions until ctx ends. A server that is away is waited for.
func (s Streams) Follow(ctx context.Context, sink Sink) error {
	places, err := s.ends(ctx)
	if err != nil {
		return err
	}
	sink.Ready()
	var group sync.WaitGroup
	var mu sync.Mutex
	see := func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		sink.See(e)
	}
	for partition, place := range places {
		group.Go(func() { s.read(ctx, s.stream(partition), place, see) })
	}
	group.Wait()
	return ctx.Err()
}

func (s Streams) stream(partition int) string {
	return fmt.Sprintf("%s:{%02d}:events", s.Prefix, partition)
}

// ends gives the ids of the last events of all partitions.
func (s Streams) ends(ctx context.Context) ([]string, error) {
	text, err := s.Client.Get(ctx, s.Prefix+":layout").Bytes()
	if errors.Is(err, goredis.Nil) {
		return nil, fmt.Errorf("read layout: this Redis has no key %s:layout: does the receiver use another one, or another prefix?", s.Prefix)
	}
	if err != nil {
		return nil, fmt.Errorf("read layout: %w", err)
	}
	var layout struct{ Partitions int }
	if err := json.Unmarshal(text, &layout); err != nil {
		return nil, fmt.Errorf("read layout: %w", err)
	}
	if layout.Partitions < 1 {
		return nil, fmt.Errorf("read layout: key %s:layout names no partitions", s.Prefix)
	}
	places := make([]string, layout.Partitions)
	for i := range places {
		last, err := s.Client.XRevRangeN(ctx, s.stream(i), "+", "-", 1).Result()
		if err != nil {
			return nil, fmt.Errorf("read stream: %w", err)
		}
		places[i] = "0"
		if len(last) > 0 {
			places[i] = last[0].ID
		}
	}
	return places, nil
}

func (s Streams) read(ctx context.Context, stream, place string, see func(Event)) {
	for ctx.Err() == nil {
		found, err := s.Client.XRead(ctx, &goredis.XReadArgs{Streams: []string{stream, place}, Count: readCount, Block: readBlock}).Result()
		if err != nil && !errors.Is(err, goredis.Nil) {
			select {
			case <-time.After(readAgain):
			case <-ctx.Done():
			}
		}
		if len(found) == 0 {
			continue
		}
		for _, m := range found[0].Messages {
			see(eventOf(m))
			place = m.ID
		}
	}
}

// eventOf takes an entry for an event; what is not one has an empty type.
func eventOf(m goredis.XMessage) Event {
	field := func(name string) string {
		text, _ := m.Values[name].(string)
		return text
	}
	e := Event{Type: field("type"), Payload: []byte(field("payload"))}
	if e.UID.UnmarshalText([]byte(field("uid"))) != nil {
		e.Type = ""
	}
	return e
}
