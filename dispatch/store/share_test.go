package store

import (
	"strings"
	"testing"
)

func TestValidateShare(t *testing.T) {
	for _, tt := range []struct {
		share Share
		ok    bool
	}{
		{Share{"a", 0}, true},
		{Share{"Crm-2_x", 7}, true},
		{Share{strings.Repeat("z", 64), 0}, true},
		{Share{strings.Repeat("z", 65), 0}, false},
		{Share{"", 0}, false},
		{Share{"a b", 0}, false},
		{Share{"a:b", 0}, false},
		{Share{"é", 0}, false},
		{Share{"a\x00", 0}, false},
		{Share{"a", -1}, false},
		{Share{"a", 8}, false},
	} {
		if err := tt.share.Validate(8); (err == nil) != tt.ok {
			t.Errorf("%+v: %v", tt.share, err)
		}
	}
}
