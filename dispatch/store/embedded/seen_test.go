package embedded

import (
	"math"
	"slices"
	"testing"
	"time"

	"spillway/dispatch/event"
)

func TestEventDay(t *testing.T) {
	const window = 8 * day
	got := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	received := dayOf(got)
	for name, tt := range map[string]struct {
		at   time.Time
		want uint16
		own  bool
	}{
		"just now":              {got.Add(-time.Second), received, true},
		"another zone":          {got.Add(-13 * time.Hour).In(time.FixedZone("", 14*3600)), received - 1, true},
		"the window's edge":     {got.Add(-window), received - 8, true},
		"outside the window":    {got.Add(-window - time.Nanosecond), received, false},
		"a day ahead":           {got.Add(day), received + 1, true},
		"more than a day ahead": {got.Add(day + time.Nanosecond), received, false},
		"no time":               {time.Time{}, received, false},
		"1970":                  {time.Unix(0, 0), received, false},
	} {
		d, own := eventDay(&event.Event{Time: tt.at, Received: got}, window)
		if d != tt.want || own != tt.own {
			t.Errorf("%s: day %d, own %v; want %d, %v", name, d, own, tt.want, tt.own)
		}
	}
}

func TestFirstKeptDay(t *testing.T) {
	const window = 8 * day
	begin := time.Date(2026, 3, 10, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		after time.Duration
		gone  bool
	}{{0, false}, {window + grace - time.Nanosecond, false}, {window + grace, true}, {window + grace + day, true}} {
		if gone := dayOf(begin) < firstKeptDay(begin.Add(tt.after), window); gone != tt.gone {
			t.Errorf("%v after its beginning: gone %v, want %v", tt.after, gone, tt.gone)
		}
	}
}

func TestDayOfBounds(t *testing.T) {
	for at, want := range map[time.Time]uint16{
		time.Unix(-1, 0):                               0,
		time.Unix(86400, 0):                            1,
		time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC):    math.MaxUint16,
		time.Date(2026, 1, 1, 23, 59, 59, 0, time.UTC): 20454,
	} {
		if got := dayOf(at); got != want {
			t.Errorf("day of %v: %d, want %d", at, got, want)
		}
	}
	if dayAfter(math.MaxUint16) != math.MaxUint16 || dayAfter(1) != 2 {
		t.Error("the day after is wrong")
	}
}

func TestSeenDays(t *testing.T) {
	s := &seen{}
	for _, d := range []uint16{5, 3, 9, 5} {
		s.ensureDay(d)
	}
	if want := []uint16{3, 5, 9}; !slices.Equal(s.days, want) {
		t.Errorf("days %v, want %v", s.days, want)
	}
	for _, tt := range []struct {
		first, last uint16
		want        []uint16
	}{{3, 9, []uint16{3, 5, 9}}, {4, 8, []uint16{5}}, {6, 8, nil}, {9, 100, []uint16{9}}, {0, 2, nil}} {
		if got := s.between(tt.first, tt.last); !slices.Equal(got, tt.want) {
			t.Errorf("from %d to %d: %v, want %v", tt.first, tt.last, got, tt.want)
		}
	}
	s.expire(5)
	if want := []uint16{5, 9}; !slices.Equal(s.days, want) {
		t.Errorf("after expiry: %v, want %v", s.days, want)
	}
}
