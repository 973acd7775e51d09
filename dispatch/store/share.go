package store

import "fmt"

// maxEndpoint is the length of the longest name of an endpoint.
const maxEndpoint = 64

// Validate names a share that no store can keep.
func (s Share) Validate(partitions int) error {
	if s.Partition < 0 || s.Partition >= partitions {
		return fmt.Errorf("no partition %d of %d", s.Partition, partitions)
	}
	return ValidateEndpoint(s.Endpoint)
}

// ValidateEndpoint names what is wrong with the name of an endpoint.
func ValidateEndpoint(name string) error {
	if len(name) == 0 || len(name) > maxEndpoint {
		return fmt.Errorf("endpoint %.80q: its name is not 1 to %d characters long", name, maxEndpoint)
	}
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return fmt.Errorf("endpoint %q: its name has %q; allowed are letters, digits, - and _", name, c)
		}
	}
	return nil
}
