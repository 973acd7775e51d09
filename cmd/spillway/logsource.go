package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"spillway/wal"
)

// logSource is a log to look into and to run again: one in a folder that no
// process uses, or that of a running receiver by way of its admin listener.
type logSource interface {
	io.Closer
	// Stat tells how the log is.
	Stat(ctx context.Context) (logStat, error)
	// Records emits what the query asks for, lane by lane, in order, until emit
	// returns an error, which it returns. An entry is valid until emit returns.
	Records(ctx context.Context, query recordQuery, emit func(logEntry) error) error
	// Dead emits all dead letters, without their bodies.
	Dead(ctx context.Context, emit func(deadEntry) error) error
	// DeadLetter gives one with its body; errNoLetter where there is none.
	DeadLetter(ctx context.Context, name deadName) (deadEntry, error)
	// Retry decodes a dead letter again and applies what comes out; errNoLetter.
	Retry(ctx context.Context, name deadName, force bool) (retryResult, error)
	// Replay dispatches the records of one lane again.
	Replay(ctx context.Context, query replayQuery, progress func(replayResult)) (replayResult, error)
}

// errNoLetter: no dead letter has that name.
var errNoLetter = errors.New("no such dead letter; see spillway log dead list")

// recordQuery says which records are wanted. From and To are sequences, both
// included; 0 is the first and the last. An empty App or Wamid asks for all.
type recordQuery struct {
	Lanes    []wal.Lane
	From, To uint64
	// After goes on behind a record that was read, in the place of From: what has
	// gone since is a gap, and no error.
	After uint64
	Since time.Time
	App   string
	// Wamid is looked for in the body.
	Wamid string
}

// logEntry is a step of reading records: a record, or a gap where there should
// be one, or neither: then all up to Seq was looked at.
type logEntry struct {
	Lane string `json:"lane"`
	Seq  uint64 `json:"seq"`
	// Last is where reading this lane will end.
	Last   uint64     `json:"last"`
	Record *logRecord `json:"record,omitempty"`
	Gap    *logGap    `json:"gap,omitempty"`
}

// logRecord is a webhook as it came in.
type logRecord struct {
	Received  time.Time `json:"received"`
	App       string    `json:"app"`
	Signature []byte    `json:"signature"`
	Body      []byte    `json:"body"`
}

// logGap is why the records from the entry's Seq to Through are not shown.
type logGap struct {
	Through uint64 `json:"through"`
	// Trimmed: their time was over while reading went on. Else they are damaged.
	Trimmed bool   `json:"trimmed,omitempty"`
	Reason  string `json:"reason"`
}

func (e logEntry) gapText() string {
	which := fmt.Sprintf("%s record %d", e.Lane, e.Seq)
	if e.Gap.Through != e.Seq {
		which = fmt.Sprintf("%s records %d to %d", e.Lane, e.Seq, e.Gap.Through)
	}
	if e.Gap.Trimmed {
		return which + " went by log.retain while the log was read"
	}
	return which + " cannot be read: " + e.Gap.Reason
}

// deadName names a dead letter.
type deadName struct {
	Lane wal.Lane
	Seq  uint64
	Item int
}

func (n deadName) String() string { return fmt.Sprintf("%s %d %s", n.Lane, n.Seq, deadItem(n.Item)) }

// parseDeadName reads LANE SEQ ITEM as `log dead list` prints them.
func parseDeadName(lane, seq, item string) (deadName, error) {
	var n deadName
	var err error
	if n.Lane, err = parseLane(lane); err != nil {
		return n, err
	}
	if n.Seq, err = strconv.ParseUint(seq, 10, 64); err != nil || n.Seq == 0 {
		return n, fmt.Errorf("SEQ %q is not allowed; allowed: 1 and more", seq)
	}
	if item == wholeRecord {
		n.Item = wal.WholeRecord
	} else if number, err := strconv.ParseUint(item, 10, 31); err != nil {
		return n, fmt.Errorf("ITEM %q is not allowed; allowed: 0 and more, or %s", item, wholeRecord)
	} else {
		n.Item = int(number)
	}
	return n, nil
}

func parseLane(text string) (wal.Lane, error) {
	for _, lane := range wal.Lanes {
		if lane.String() == text {
			return lane, nil
		}
	}
	return 0, fmt.Errorf("lane %q is not allowed; allowed: express, bulk", text)
}

// wholeRecord stands for an item that is a record as a whole.
const wholeRecord = "whole"

// deadItem is the number of an item, or wal.WholeRecord.
type deadItem int

func (i deadItem) String() string {
	if i == wal.WholeRecord {
		return wholeRecord
	}
	return strconv.Itoa(int(i))
}

// MarshalJSON writes a number, or "whole".
func (i deadItem) MarshalJSON() ([]byte, error) {
	if i == wal.WholeRecord {
		return json.Marshal(wholeRecord)
	}
	return json.Marshal(int(i))
}

// UnmarshalJSON reads what MarshalJSON writes.
func (i *deadItem) UnmarshalJSON(text []byte) error {
	if string(text) == `"`+wholeRecord+`"` {
		*i = wal.WholeRecord
		return nil
	}
	return json.Unmarshal(text, (*int)(i))
}

// deadEntry is a dead letter.
type deadEntry struct {
	Lane      string    `json:"lane"`
	Seq       uint64    `json:"seq"`
	Item      deadItem  `json:"item"`
	Received  time.Time `json:"received"`
	App       string    `json:"app"`
	Path      string    `json:"path,omitempty"`
	Reason    string    `json:"reason"`
	Signature []byte    `json:"signature,omitempty"`
	Body      []byte    `json:"body,omitempty"`
}

// replayQuery says which records of a lane are dispatched again; see recordQuery.
type replayQuery struct {
	Lane     wal.Lane
	From, To uint64
	Since    time.Time
	Force    bool
}

// replayResult is how far a replay is, or what it came to: From to To is what
// was asked for, Seq the last record done.
type replayResult struct {
	Lane    string `json:"lane"`
	From    uint64 `json:"from"`
	To      uint64 `json:"to"`
	Seq     uint64 `json:"seq"`
	Records int64  `json:"records"`
	// Undispatched are the records after To that are left to dispatching.
	Undispatched uint64 `json:"undispatched,omitempty"`
	// The events by outcome, and the items that cannot be decoded.
	Fresh     int64 `json:"fresh"`
	Duplicate int64 `json:"duplicate"`
	Stale     int64 `json:"stale"`
	Replayed  int64 `json:"replayed"`
	Dead      int64 `json:"dead"`
}

// What may become of a dead letter that is tried again.
const (
	retryApplied   = "applied"
	retryStillDead = "still dead"
	retryTooOld    = "too old"
	retryFailed    = "failed"
)

// retryResult is what became of a dead letter.
type retryResult struct {
	Lane   string   `json:"lane"`
	Seq    uint64   `json:"seq"`
	Item   deadItem `json:"item"`
	Result string   `json:"result"`
	Reason string   `json:"reason,omitempty"`
	// The events by outcome, where applied.
	Fresh     int64 `json:"fresh"`
	Duplicate int64 `json:"duplicate"`
	Stale     int64 `json:"stale"`
	Replayed  int64 `json:"replayed"`
}

// logStat is how a log is.
type logStat struct {
	Folder string `json:"folder"`
	// Node is the log's identity.
	Node string `json:"node"`
	// Running: a receiver has it open.
	Running     bool       `json:"running"`
	Lanes       []laneStat `json:"lanes"`
	DeadLetters int64      `json:"dead_letters"`
	DeadBytes   int64      `json:"dead_bytes"`
	MaxBytes    int64      `json:"max_bytes"`
	MinFree     int64      `json:"min_free_bytes"`
	// DiskBytes is what the log's files take, FreeBytes what the disk has left.
	DiskBytes int64 `json:"disk_bytes"`
	FreeBytes int64 `json:"free_bytes"`
	// AppendedBytes and WrittenBytes are those since it was opened; their ratio
	// is the write amplification, 0 where nothing was appended.
	AppendedBytes      int64   `json:"appended_bytes"`
	WrittenBytes       int64   `json:"written_bytes"`
	WriteAmplification float64 `json:"write_amplification"`
}

// laneStat is how a lane is.
type laneStat struct {
	Lane     string `json:"lane"`
	First    uint64 `json:"first"`
	Head     uint64 `json:"head"`
	Released uint64 `json:"released"`
	Records  uint64 `json:"records"`
	// Behind is how many records have events that are not known to be durable in
	// the store.
	Behind          uint64    `json:"behind"`
	Bytes           int64     `json:"bytes"`
	UnreleasedBytes int64     `json:"unreleased_bytes"`
	Oldest          time.Time `json:"oldest,omitzero"`
	Newest          time.Time `json:"newest,omitzero"`
	// LastMinute is how many records came in the minute before.
	LastMinute uint64 `json:"last_minute"`
}
