package dispatch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"spillway/wal"
)

// deathsAllowed is how often a record may end the process while it is decoded
// before it is set aside as a dead letter.
const deathsAllowed = 3

const (
	suspectSlots = 2 * len(wal.Lanes) // a lead and a late drainer a lane
	suspectTable = 16
	suspectWords = suspectSlots + 2*suspectTable
	suspectBytes = 8 * suspectWords
)

// suspects tells, after a crash, which records were being decoded, and how often
// that has happened to them. The marks are in a file mapped into memory: they
// cost a store each, and outlive the process, though not the machine, which a
// record cannot end.
//
// The file, in little-endian words of 8 bytes:
//
//	[slot 0] … [slot 3]      hash of the record being decoded, 0 for none
//	[hash | deaths] × 16     those that were found in a slot
//
// It is the hash that names a record: a sequence would name another one once the
// log was replaced or has lost its tail.
type suspects struct {
	file *os.File
	data []byte
	// killers are the records with deathsAllowed; fixed once open.
	killers map[uint64]bool
}

func openSuspects(path string) (*suspects, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open marks of suspect records: %w", err)
	}
	// Written, not truncated to size: a hole could not be filled on a full disk.
	info, err := file.Stat()
	if err == nil && info.Size() != int64(suspectBytes) {
		_, err = file.WriteAt(make([]byte, suspectBytes), 0)
		err = errors.Join(err, file.Truncate(int64(suspectBytes)))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare marks of suspect records: %w", err), file.Close())
	}
	data, err := syscall.Mmap(int(file.Fd()), 0, suspectBytes, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("map marks of suspect records: %w", err), file.Close())
	}
	s := &suspects{file: file, data: data, killers: make(map[uint64]bool)}
	s.collect()
	return s, nil
}

func (s *suspects) word(i int) uint64       { return binary.LittleEndian.Uint64(s.data[8*i:]) }
func (s *suspects) setWord(i int, v uint64) { binary.LittleEndian.PutUint64(s.data[8*i:], v) }

// collect moves what the slots hold into the table, and finds the killers.
func (s *suspects) collect() {
	for slot := range suspectSlots {
		hash := s.word(slot)
		if hash == 0 {
			continue
		}
		row := s.row(hash)
		s.setWord(row, hash)
		s.setWord(row+1, s.word(row+1)+1)
		s.setWord(slot, 0)
	}
	for i := range suspectTable {
		row := suspectSlots + 2*i
		if s.word(row+1) >= deathsAllowed {
			s.killers[s.word(row)] = true
		}
	}
}

// row finds the table's row of a record, or frees the one with fewest deaths.
func (s *suspects) row(hash uint64) int {
	least := suspectSlots
	for i := range suspectTable {
		row := suspectSlots + 2*i
		if s.word(row) == hash {
			return row
		}
		if s.word(row+1) < s.word(least+1) {
			least = row
		}
	}
	s.setWord(least+1, 0)
	return least
}

// slotOf gives a lane's lead and late drainer a slot each.
func slotOf(lane wal.Lane, late bool) int {
	slot := 2 * int(lane)
	if late {
		slot++
	}
	return slot
}

// deadly reports whether the record has ended the process too often.
func (s *suspects) deadly(hash uint64) bool { return s.killers[hash] }

// mark notes that a record is being decoded, 0 that none is.
func (s *suspects) mark(slot int, hash uint64) { s.setWord(slot, hash) }

func (s *suspects) close() {
	_ = syscall.Munmap(s.data)
	_ = s.file.Close()
}
