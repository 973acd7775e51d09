package load

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	webhookHead = `{"object":"whatsapp_business_account","entry":[{"id":"102290129340398","changes":[{"value":{` +
		`"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550783881","phone_number_id":"106540352242922"},` +
		`"statuses":[`
	webhookTail = `]},"field":"messages"}]}]}`
	wamidHead   = "wamid.HBgL"
	// statusText takes a wamid that ends in 32 digits and a time in seconds.
	statusText = `{"id":"` + wamidHead + `%s==","status":"delivered","timestamp":"%d","recipient_id":"16505551234",` +
		`"conversation":{"id":"fbb5a8d0c3d74b7b9cd1e0c0b5d8f4a2","origin":{"type":"marketing"}},` +
		`"pricing":{"billable":true,"pricing_model":"PMP","category":"marketing","type":"regular"}}`
	// padding brings a body to its size.
	padding = `"biz_opaque_callback_data":"%s",`
	// serialDigits is the part of a wamid that makes it unique.
	serialDigits = 32
	signatureHex = 2 * sha256.Size
)

// MinBody is the least size of a body, in bytes: that of one status.
var MinBody = len(newTemplate(1, 0).body)

// Campaign makes webhooks of statuses, each of a message that no other status of
// any campaign is of. It may be used from many goroutines.
type Campaign struct {
	template *template
	secret   []byte
	host     string
	run      uint64
	serial   atomic.Uint64
	sending  func(serial uint64)
	acked    func(serial uint64)
}

// NewCampaign makes webhooks of size bytes, MinBody at least, as many statuses
// in each as fit, signed with secret.
func NewCampaign(size int, secret, host string) (*Campaign, error) {
	if size < MinBody {
		return nil, fmt.Errorf("body of %d bytes: a webhook has %d or more", size, MinBody)
	}
	one, two := len(newTemplate(1, 0).body), len(newTemplate(2, 0).body)
	statuses := 1 + (size-one)/(two-one)
	pad := size - len(newTemplate(statuses, 0).body)
	if overhead := len(fmt.Sprintf(padding, "")); pad > overhead {
		pad -= overhead
	} else {
		pad = 0
	}
	return &Campaign{
		template: newTemplate(statuses, pad),
		secret:   []byte(secret),
		host:     host,
		run:      uint64(time.Now().UnixNano()),
	}, nil
}

// OnSend has f called with the serial of each webhook that Open posts, from the
// goroutine of its connection, right before that. It must be set before Open.
func (c *Campaign) OnSend(f func(serial uint64)) { c.sending = f }

// OnAck has f called with the serial of each webhook that Closed or Open counts as
// answered 200, from the goroutine of its connection, before that sends the next.
// It must be set before either.
func (c *Campaign) OnAck(f func(serial uint64)) { c.acked = f }

// Serial finds the serial of a webhook of this campaign in its body, or in
// whatever holds the id of its first status.
func (c *Campaign) Serial(body []byte) (uint64, bool) {
	_, rest, found := bytes.Cut(body, []byte(wamidHead))
	if !found || len(rest) < serialDigits {
		return 0, false
	}
	var id [serialDigits / 2]byte
	if _, err := hex.Decode(id[:], rest[:serialDigits]); err != nil {
		return 0, false
	}
	return binary.BigEndian.Uint64(id[8:]), binary.BigEndian.Uint64(id[:]) == c.run
}

// Statuses is how many statuses a webhook holds.
func (c *Campaign) Statuses() int { return len(c.template.serials) }

// Size is the bytes of a webhook's body.
func (c *Campaign) Size() int { return len(c.template.body) }

// template is a body, and where in it the serials stand.
type template struct {
	body    []byte
	serials []int
}

func newTemplate(statuses, pad int) *template {
	mark := bytes.Repeat([]byte{'#'}, serialDigits)
	body := []byte(webhookHead)
	for i := range statuses {
		if i > 0 {
			body = append(body, ',')
		}
		status := fmt.Appendf(nil, statusText, mark, time.Now().Unix())
		if i == 0 && pad > 0 {
			filler := fmt.Appendf([]byte{'{'}, padding, bytes.Repeat([]byte{'x'}, pad))
			status = append(filler, status[1:]...)
		}
		body = append(body, status...)
	}
	t := &template{body: append(body, webhookTail...)}
	for from := 0; ; {
		i := bytes.Index(t.body[from:], mark)
		if i < 0 {
			return t
		}
		t.serials = append(t.serials, from+i)
		from += i + len(mark)
	}
}

// Writer makes the requests of one connection; it belongs to one goroutine.
type Writer struct {
	campaign        *Campaign
	serial          uint64 // of the last webhook
	request         []byte
	signature, body int // where they stand in request
	mac             hash.Hash
	sum             [sha256.Size]byte
}

// Writer makes a Writer of the campaign.
func (c *Campaign) Writer() *Writer {
	w := &Writer{campaign: c, mac: hmac.New(sha256.New, c.secret)}
	w.request = append(w.request, "POST /api/webhook HTTP/1.1\r\nHost: "+c.host+
		"\r\nContent-Type: application/json\r\nContent-Length: "+strconv.Itoa(len(c.template.body))+
		"\r\nX-Hub-Signature-256: sha256="...)
	w.signature = len(w.request)
	w.request = append(w.request, bytes.Repeat([]byte{'0'}, signatureHex)...)
	w.request = append(w.request, "\r\n\r\n"...)
	w.body = len(w.request)
	w.request = append(w.request, c.template.body...)
	return w
}

// Next gives a request as it goes over the wire, with a webhook that was never
// sent before. It is valid until the following Next.
func (w *Writer) Next() []byte {
	c := w.campaign
	body := w.request[w.body:]
	w.serial = c.serial.Add(uint64(len(c.template.serials)))
	for i, at := range c.template.serials {
		var id [serialDigits / 2]byte
		binary.BigEndian.PutUint64(id[:], c.run)
		binary.BigEndian.PutUint64(id[8:], w.serial-uint64(i))
		hex.Encode(body[at:], id[:])
	}
	w.mac.Reset()
	_, _ = w.mac.Write(body)
	hex.Encode(w.request[w.signature:], w.mac.Sum(w.sum[:0]))
	return w.request
}
