package stream

import (
	"math"
	"slices"
	"strings"
	"testing"

	"spillway/dispatch/store"
)

func TestMarkGolden(t *testing.T) {
	most := store.Place{Ms: math.MaxUint64, Seq: math.MaxUint64}
	tests := []struct {
		mark mark
		text string
	}{
		{mark{}, "1-0-0-0-0-0"},
		{mark{partition: 31, place: store.Place{Ms: 1795390842123, Seq: 7}, watermark: store.Place{Ms: 1795390841999, Seq: 0}},
			"1-v-mwshcnwr-7-mwshcntb-0"},
		{mark{form: oldestForm, partition: 3, place: store.Place{Ms: 36, Seq: 35}}, "1o-3-10-z"},
		{mark{form: skewedForm, partition: 3, place: store.Place{Ms: 36, Seq: 35}, watermark: store.Place{Ms: 37, Seq: 1}, late: 36}, "1s-3-10-z-11-1-10"},
		{mark{form: skewedForm, partition: maxPartition, place: most, watermark: most, late: math.MaxUint32},
			"1s-1ekf-3w5e11264sgsf-3w5e11264sgsf-3w5e11264sgsf-3w5e11264sgsf-1z141z3"},
		{mark{partition: maxPartition, place: most, watermark: most},
			"1-1ekf-3w5e11264sgsf-3w5e11264sgsf-3w5e11264sgsf-3w5e11264sgsf"},
	}
	for _, test := range tests {
		if got := test.mark.String(); got != test.text {
			t.Errorf("%+v is written %q, want %q", test.mark, got, test.text)
		}
		if got, err := parseMark(test.text); err != nil || got != test.mark {
			t.Errorf("%q is read %+v, %v; want %+v", test.text, got, err, test.mark)
		}
		if len(test.text) > markMax {
			t.Errorf("%q is longer than %d", test.text, markMax)
		}
	}
}

func TestMarkRefuses(t *testing.T) {
	for _, text := range []string{
		"", "0", "1", "1-", "1-0", "1-0-0-0-0", "1-0-0-0-0-0-0", "2-0-0-0-0-0", "1o-0-0-0-0-0", "1o-0-0", "o-0-0-0",
		"1s-0-0-0-0-0", "1s-0-0-0-0-0-1z141z4", "1x-0-0-0-0-0", "s-0-0-0-0-0-0",
		"1-00-0-0-0-0", "1-0-A-0-0-0", "1-0--0-0-0", "1-0-+1-0-0-0", "1-0-0-0-0-0 ", " 1-0-0-0-0-0", "1-1ekg-0-0-0-0",
		"1-0-3w5e11264sgsg-0-0-0", "1-0-0-0-0-" + strings.Repeat("1", 80), "1_0_0_0_0_0", "1-0-1_0-0-0-0",
	} {
		if m, err := parseMark(text); err == nil {
			t.Errorf("%q is read as %+v", text, m)
		}
	}
}

func FuzzMark(f *testing.F) {
	f.Add("1-v-mwshcnwr-7-mwshcntb-0")
	f.Add("1o-3-10-z")
	f.Add("1s-3-10-z-11-1-10")
	f.Add("0")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseMark(text)
		if err != nil {
			return
		}
		if m.String() != text || len(text) > markMax {
			t.Errorf("%q is read as %+v and written %q", text, m, m.String())
		}
		for _, c := range text {
			if !strings.ContainsRune("0123456789abcdefghijklmnopqrstuvwxyz-", c) {
				t.Errorf("%q has %q, which a URL may not keep", text, c)
			}
		}
		end := store.Place{Ms: math.MaxUint64, Seq: math.MaxUint64}
		bounds := slices.Repeat([]store.Bounds{{Last: end}}, 4)
		if c, err := resume(text, bounds, end); err == nil && m.form != oldestForm {
			if m.partition > 3 || c.after(m.partition).Compare(m.place) < 0 {
				t.Errorf("%q resumes partition %d from %+v", text, m.partition, c.after(m.partition))
			}
		}
	})
}

func TestBefore(t *testing.T) {
	for _, test := range []struct{ place, want store.Place }{
		{store.Place{Ms: 5, Seq: 3}, store.Place{Ms: 5, Seq: 2}},
		{store.Place{Ms: 5}, store.Place{Ms: 4, Seq: math.MaxUint64}},
		{store.Place{}, store.Place{}},
	} {
		if got := before(test.place); got != test.want {
			t.Errorf("before %+v stands %+v, want %+v", test.place, got, test.want)
		}
	}
}

// TestWatermark follows a cursor through a merge: the watermark never tells more
// than what was handled, nor more than what is complete.
func TestWatermark(t *testing.T) {
	at := func(ms uint64) store.Place { return store.Place{Ms: ms} }
	top := func(ms uint64) store.Place { return store.Place{Ms: ms, Seq: math.MaxUint64} }
	c := &cursor{places: make([]store.Place, 2), watermark: at(10)}
	steps := []struct {
		partition int
		place     store.Place
		want      store.Place
	}{
		{0, at(11), top(10)},
		{1, at(11), top(10)}, // at the same place as another
		{1, at(15), top(14)},
		{0, at(30), at(20)}, // beyond what is complete
		{1, at(31), at(20)},
	}
	for i, step := range steps {
		c.advance(step.partition, step.place, at(20))
		if m := c.mark(step.partition); m.watermark != step.want || m.place != step.place || m.form != plainForm {
			t.Errorf("step %d: id %+v, want the watermark %+v", i, m, step.want)
		}
	}
	c.reach([]store.Place{at(40), at(35)}, at(38))
	if c.after(0) != at(40) || c.after(1) != at(38) {
		t.Errorf("at the end: %+v", c)
	}
}
