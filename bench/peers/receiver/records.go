package receiver

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// A record of a file is its length, 4 bytes, the most significant first, and so
// many bytes.
const lengthSize = 4

// openRecords opens a file to append records to, each with one Write.
func openRecords(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open file of webhooks: %w", err)
	}
	return file, nil
}

func appendRecord(buffer, data []byte) []byte {
	return append(binary.BigEndian.AppendUint32(buffer, uint32(len(data))), data...)
}

// readRecords gives the whole records of a file; the last one may be cut.
func readRecords(path string, each func([]byte)) (err error) {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read file of webhooks: %w", err)
	}
	defer file.Close()
	reader := bufio.NewReaderSize(file, 1<<20)
	var length [lengthSize]byte
	for {
		if _, err = io.ReadFull(reader, length[:]); err != nil {
			break
		}
		record := make([]byte, binary.BigEndian.Uint32(length[:]))
		if _, err = io.ReadFull(reader, record); err != nil {
			break
		}
		each(record)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return fmt.Errorf("read file of webhooks: %w", err)
}
