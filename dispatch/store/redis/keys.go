package redis

import (
	"fmt"
	"strconv"

	"spillway/dispatch/event"
)

// The keys, P being a partition's number in two digits. Its braces make all keys
// of a partition stand in one slot of a Cluster, and so on one node.
//
//	PREFIX:layout                  string  what the store was made with, see layout
//	PREFIX:{P}:cursor              hash    NODE:LANE to SEQ:HASH
//	PREFIX:{P}:events              stream  uid, type, payload
//	PREFIX:{P}:seen:DAY:BUCKET     set     hashes of what was seen, see seen.go
//	PREFIX:{P}:contact:WABA:ID     string  the contact that a wa_id or user_id belongs to
//	PREFIX:{P}:state               hash    what was appended and trimmed, and the latest day seen
//	PREFIX:{P}:marks               list    ids at which the stream can be cut, with counts
//	PREFIX:{P}:endpoints           set     the endpoints that were ever delivered to
//	PREFIX:{P}:deliver:ENDPOINT    hash    a share: its lease and cursor, see delivery.go
//	PREFIX:deliver:members         zset    the receivers, by when they are over in Unix ms
//	PREFIX:deliver:states          hash    what was set of each endpoint
type partitionKeys struct {
	cursor, state, events, marks string
	// seen is followed by the day and the bucket, contact by WABA and id.
	seen, contact string
	endpoints     string
	// deliver is followed by the endpoint.
	deliver string
}

func newPartitionKeys(prefix string, partition int) partitionKeys {
	base := fmt.Sprintf("%s:{%02d}:", prefix, partition)
	return partitionKeys{
		cursor: base + "cursor", state: base + "state", events: base + "events", marks: base + "marks",
		seen: base + "seen:", contact: base + "contact:",
		endpoints: base + "endpoints", deliver: base + "deliver:",
	}
}

func layoutKey(prefix string) string { return prefix + ":layout" }

func membersKey(prefix string) string { return prefix + ":deliver:members" }

func statesKey(prefix string) string { return prefix + ":deliver:states" }

// contactKey is where the contact of an id is kept, and in which partition.
func (s *Store) contactKey(waba, id string) (key string, partition int) {
	partition = event.Partition(id, len(s.partitions))
	return s.partitions[partition].keys.contact + waba + ":" + id, partition
}

// seenKey is the set of a day and bucket.
func (k *partitionKeys) seenKey(d int, bucket int) string {
	return k.seen + dayName(d) + ":" + strconv.Itoa(bucket)
}
