package load

import "time"

// maxDuration bounds a schedule.
const maxDuration = 24 * time.Hour

// schedule sends at a constant rate: send n, from 0, is due n/rate seconds after
// the begin, whatever became of the others.
type schedule struct {
	rate     int64 // a second
	duration time.Duration
}

// at is when send n is due.
func (s schedule) at(n int64) time.Duration {
	whole, rest := n/s.rate, n%s.rate
	return time.Duration(whole)*time.Second + time.Duration(rest*int64(time.Second)/s.rate)
}

// count is how many are due before the duration is over.
func (s schedule) count() int64 { return s.before(s.duration) }

// due is how many are due when so much time has passed.
func (s schedule) due(elapsed time.Duration) int64 {
	if elapsed < 0 {
		return 0
	}
	return min(s.before(elapsed+1), s.count())
}

// before is how many are due before a time: the least n with n/rate at or after it.
func (s schedule) before(t time.Duration) int64 {
	whole, rest := int64(t/time.Second), int64(t%time.Second)
	return whole*s.rate + (rest*s.rate+int64(time.Second)-1)/int64(time.Second)
}
