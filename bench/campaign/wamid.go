package campaign

import (
	"encoding/base64"
	"encoding/binary"
)

// A message's wamid is as long as most of Meta's, 58 characters: "wamid." and the
// base64 of
//
//	offset  bytes
//	0       8      "\x1d\x18spill" and 1, the format
//	8       8      run, big-endian
//	16      4      the recipient's number
//	20      1      0 for the message that was sent, n for the n-th reply
//	21      18     zeros
const (
	wamidPrefix = "wamid."
	wamidBytes  = 39
	wamidMark   = "\x1d\x18spill\x01"
)

func appendWamid(b []byte, run uint64, number, message int) []byte {
	var raw [wamidBytes]byte
	copy(raw[:], wamidMark)
	binary.BigEndian.PutUint64(raw[8:], run)
	binary.BigEndian.PutUint32(raw[16:], uint32(number))
	raw[20] = byte(message)
	b = append(b, wamidPrefix...)
	return base64.StdEncoding.AppendEncode(b, raw[:])
}

// parseWamid undoes appendWamid for a wamid of this run.
func parseWamid(run uint64, wamid string) (number, message int, ok bool) {
	if len(wamid) != len(wamidPrefix)+base64.StdEncoding.EncodedLen(wamidBytes) || wamid[:len(wamidPrefix)] != wamidPrefix {
		return 0, 0, false
	}
	var raw [wamidBytes]byte
	if n, err := base64.StdEncoding.Decode(raw[:], []byte(wamid[len(wamidPrefix):])); err != nil || n != wamidBytes {
		return 0, 0, false
	}
	if string(raw[:8]) != wamidMark || binary.BigEndian.Uint64(raw[8:]) != run {
		return 0, 0, false
	}
	return int(binary.BigEndian.Uint32(raw[16:])), int(raw[20]), true
}
