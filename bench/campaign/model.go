package campaign

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// kind is what an event tells of.
type kind uint8

const (
	sent kind = iota
	delivered
	read
	failed
	// reply is a message of the customer's, birth the contact that the first of
	// them gives birth to.
	reply
	birth
)

// statuses are Meta's words for the kinds that are one.
var statuses = [...]string{sent: "sent", delivered: "delivered", read: "read", failed: "failed"}

// isStatus tells statuses, which are of the message that was sent, from what is
// of the customer's.
func (k kind) isStatus() bool { return k <= failed }

// The shares of what becomes of messages. Together they make 3.3 updates a
// message, as Meta counts for one number: 1000 messages a second with replies from
// 30 % are 3300 webhooks.
const (
	failedShare      = 0.01
	undeliveredShare = 0.01 // read comes without delivered
	unreadShare      = 0.04
	replyShare       = 0.32 // of those who read it
	secondReplyShare = 0.20 // of those who reply
	// userIDShare of customers show a business-scoped user id as well, usernameShare
	// that one alone.
	userIDShare   = 0.30
	usernameShare = 0.05
	// stragglerShare of updates are reported late, and so out of order.
	stragglerShare = 0.02
)

// The delays, in seconds, are log-normal about a median. They are those of a
// campaign that is watched for a minute or two, not for days: people read later.
var (
	sendDelay     = delay{median: 0.2, sigma: 0.5}
	deliveryDelay = delay{median: 0.6, sigma: 0.9}
	readDelay     = delay{median: 2.5, sigma: 0.8}
	replyDelay    = delay{median: 3, sigma: 0.7}
	// reportDelay is from when something happens to when Meta reports it.
	reportDelay    = delay{median: 0.03, sigma: 0.7}
	stragglerDelay = delay{median: 1, sigma: 0.5}
)

// mostDelay bounds each delay, in seconds.
const mostDelay = 10

type delay struct{ median, sigma float64 }

func (d delay) draw(r *rand.Rand, scale float64) time.Duration {
	return seconds(scale * min(d.median*math.Exp(d.sigma*r.NormFloat64()), mostDelay))
}

// update is one item of a webhook: when it happened and when Meta reports it,
// since the message was sent.
type update struct {
	kind          kind
	happened, due time.Duration
	// content is the kind of reply.
	content int
}

// mostUpdates bounds the updates of one recipient.
const mostUpdates = 5

// life is what becomes of one message and its recipient. It is drawn from the
// seed and the recipient's number alone, so that it is the same wherever it is
// drawn again.
type life struct {
	number int
	// waID, userID are empty where the customer does not show it.
	waID, userID string
	updates      []update
	room         [mostUpdates]update
}

// draw fills l with the life of a recipient.
func (l *life) draw(c *Config, run uint64, number int) {
	r := rand.New(rand.NewPCG(c.Seed, uint64(number)))
	l.number, l.updates = number, l.room[:0]
	l.drawCustomer(r, run)
	add := func(k kind, happened time.Duration, content int) {
		due := happened + reportDelay.draw(r, c.Delays)
		if r.Float64() < stragglerShare {
			due += stragglerDelay.draw(r, c.Delays)
		}
		l.updates = append(l.updates, update{kind: k, happened: happened, due: due, content: content})
	}
	at := sendDelay.draw(r, c.Delays)
	if r.Float64() < failedShare {
		add(failed, at, 0)
		return
	}
	add(sent, at, 0)
	at += deliveryDelay.draw(r, c.Delays)
	if r.Float64() >= undeliveredShare {
		add(delivered, at, 0)
	}
	if r.Float64() < unreadShare {
		return
	}
	at += readDelay.draw(r, c.Delays)
	add(read, at, 0)
	for _, share := range []float64{replyShare, secondReplyShare} {
		if r.Float64() >= share {
			return
		}
		at += replyDelay.draw(r, c.Delays)
		add(reply, at, drawContent(r))
	}
}

func (l *life) drawCustomer(r *rand.Rand, run uint64) {
	share := r.Float64()
	l.waID, l.userID = "", ""
	if share >= usernameShare {
		l.waID = waID(run, l.number)
	}
	if share < usernameShare+userIDShare {
		l.userID = userID(run, l.number)
	}
}

// MaxRecipients is what a customer's number has digits for.
const MaxRecipients = 9_999_999

// Customers' ids are made of the run and the recipient, so that a second run
// against the same receiver speaks of others.
func waID(run uint64, number int) string { return fmt.Sprintf("9%07d%07d", run%1e7, number) }

func userID(run uint64, number int) string { return fmt.Sprintf("US.%07d%07d", run%1e7, number) }

// customerOf gives the number of a customer of this run.
func customerOf(run uint64, waID, userID string) (number int, ok bool) {
	digits := waID
	if digits == "" && len(userID) > 2 {
		digits = "9" + userID[3:]
	}
	if len(digits) != 15 || digits[:8] != fmt.Sprintf("9%07d", run%1e7) {
		return 0, false
	}
	for _, d := range []byte(digits[8:]) {
		if d < '0' || d > '9' {
			return 0, false
		}
		number = number*10 + int(d-'0')
	}
	return number, true
}
