package campaign

import (
	"math/rand/v2"
	"strconv"
	"time"
)

// The business that sends.
const (
	wabaID        = "102290129340398"
	phoneNumberID = "106540352242922"
	displayNumber = "15550783881"
)

// contents are what customers reply with, in Meta's form: {"type":TYPE,TYPE:…}.
// The escapes are those that Meta writes, which a signature over JSON that was
// written anew would not survive.
var contents = []struct {
	weight int
	json   string
}{
	{50, `"type":"text","text":{"body":"Yes please, two of them \u2013 and is caf\u00e9 included?"}`},
	{8, `"type":"button","button":{"payload":"order-now","text":"Order now"}`},
	{6, `"type":"interactive","interactive":{"type":"button_reply","button_reply":{"id":"yes","title":"Yes"}}`},
	{4, `"type":"interactive","interactive":{"type":"list_reply","list_reply":{"id":"slot-3","title":"Tuesday","description":"10:00 \u2013 12:00"}}`},
	{10, `"type":"image","image":{"mime_type":"image\/jpeg","sha256":"4dEPcnT5Wy1Iz4qMqSNlpqZyrm4nqzmcPq1k3Uw2oJQ=","id":"1003383421387256","caption":"this one?"}`},
	{6, `"type":"audio","audio":{"mime_type":"audio\/ogg; codecs=opus","sha256":"4dEPcnT5Wy1Iz4qMqSNlpqZyrm4nqzmcPq1k3Uw2oJQ=","id":"1908647269898587","voice":true}`},
	{3, `"type":"document","document":{"filename":"order.pdf","mime_type":"application\/pdf","sha256":"4dEPcnT5Wy1Iz4qMqSNlpqZyrm4nqzmcPq1k3Uw2oJQ=","id":"594316499541870"}`},
	{3, `"type":"sticker","sticker":{"mime_type":"image\/webp","sha256":"4dEPcnT5Wy1Iz4qMqSNlpqZyrm4nqzmcPq1k3Uw2oJQ=","id":"798882015472548","animated":false}`},
	{2, `"type":"location","location":{"latitude":38.9806263495,"longitude":-131.9428612257,"name":"Main Street Beach","address":"Main Street Beach, Santa Cruz, CA"}`},
	{2, `"type":"contacts","contacts":[{"name":{"first_name":"Barbara","last_name":"Johnson","formatted_name":"Barbara J. Johnson"},"phones":[{"phone":"+1 415-555-0829","type":"MOBILE"}]}]`},
	{1, `"type":"unsupported","errors":[{"code":131051,"title":"Message type unknown","message":"Message type unknown","error_data":{"details":"Message type is currently not supported."}}]`},
	{5, `"type":"reaction"`}, // and to which message
}

// reaction is the one content that names another message.
var reaction = len(contents) - 1

func drawContent(r *rand.Rand) int {
	total := 0
	for _, c := range contents {
		total += c.weight
	}
	n := r.IntN(total)
	for i, c := range contents {
		if n -= c.weight; n < 0 {
			return i
		}
	}
	return 0
}

// writer makes the bodies of webhooks. It belongs to one goroutine.
type writer struct {
	cfg   *Config
	run   uint64
	began time.Time
	life  life
	body  []byte
}

// write gives the body of a webhook, the same each time; it is valid until the
// next write. Updates of a kind that follow one another share a change.
func (w *writer) write(hook *webhook) []byte {
	w.body = append(w.body[:0], `{"object":"whatsapp_business_account","entry":[{"id":"`+wabaID+`","changes":[`...)
	for from := 0; from < len(hook.items); {
		to := from
		for to < len(hook.items) && hook.items[to].kind.isStatus() == hook.items[from].kind.isStatus() {
			to++
		}
		if from > 0 {
			w.body = append(w.body, ',')
		}
		w.change(hook.items[from:to])
		from = to
	}
	w.body = append(w.body, `]}]}`...)
	return w.body
}

const changeHead = `{"value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"` + displayNumber +
	`","phone_number_id":"` + phoneNumberID + `"},`

func (w *writer) change(items []item) {
	w.body = append(w.body, changeHead...)
	if items[0].kind.isStatus() {
		w.list("statuses", items, w.status)
	} else {
		w.list("contacts", items, w.contact)
		w.body = append(w.body, ',')
		w.list("messages", items, w.message)
	}
	w.body = append(w.body, `},"field":"messages"}`...)
}

func (w *writer) list(name string, items []item, write func(item)) {
	w.body = append(w.body, '"')
	w.body = append(w.body, name...)
	w.body = append(w.body, `":[`...)
	for i, it := range items {
		if i > 0 {
			w.body = append(w.body, ',')
		}
		w.life.draw(w.cfg, w.run, int(it.recipient))
		write(it)
	}
	w.body = append(w.body, ']')
}

func (w *writer) status(it item) {
	w.body = append(w.body, `{"id":"`...)
	w.body = appendWamid(w.body, w.run, int(it.recipient), 0)
	w.field("status", statuses[it.kind])
	w.time(it)
	w.optional("recipient_id", w.life.waID)
	w.optional("recipient_user_id", w.life.userID)
	switch it.kind {
	case failed:
		w.body = append(w.body, `,"errors":[{"code":131026,"title":"Message undeliverable","message":"Message undeliverable",`+
			`"error_data":{"details":"Message Undeliverable."},"href":"https:\/\/developers.facebook.com\/docs\/whatsapp\/cloud-api\/support\/error-codes\/"}]`...)
	default:
		w.body = append(w.body, `,"pricing":{"billable":true,"pricing_model":"PMP","category":"marketing","type":"regular"}`...)
	}
	w.body = append(w.body, '}')
}

func (w *writer) contact(item) {
	w.body = append(w.body, `{"profile":{"name":"Zo\u00eb `...)
	w.body = strconv.AppendInt(w.body, int64(w.life.number), 10)
	w.body = append(w.body, '"')
	if w.life.waID == "" {
		w.body = append(w.body, `,"username":"zoe.`...)
		w.body = strconv.AppendInt(w.body, int64(w.life.number), 10)
		w.body = append(w.body, '"')
	}
	w.body = append(w.body, '}')
	w.optional("wa_id", w.life.waID)
	w.optional("user_id", w.life.userID)
	w.body = append(w.body, '}')
}

func (w *writer) message(it item) {
	w.body = append(w.body, `{"id":"`...)
	w.body = appendWamid(w.body, w.run, int(it.recipient), w.life.replyNumber(int(it.update)))
	w.body = append(w.body, '"')
	w.time(it)
	w.optional("from", w.life.waID)
	w.optional("from_user_id", w.life.userID)
	w.body = append(w.body, ',')
	content := w.life.updates[it.update].content
	w.body = append(w.body, contents[content].json...)
	if content == reaction {
		w.body = append(w.body, `,"reaction":{"message_id":"`...)
		w.body = appendWamid(w.body, w.run, int(it.recipient), 0)
		w.body = append(w.body, `","emoji":"\ud83d\udc4d"}`...)
	}
	w.body = append(w.body, '}')
}

// field closes the string before it.
func (w *writer) field(name, value string) {
	w.body = append(w.body, `","`...)
	w.body = append(w.body, name...)
	w.body = append(w.body, `":"`...)
	w.body = append(w.body, value...)
	w.body = append(w.body, '"')
}

func (w *writer) optional(name, value string) {
	if value == "" {
		return
	}
	w.body = append(w.body, ',', '"')
	w.body = append(w.body, name...)
	w.body = append(w.body, `":"`...)
	w.body = append(w.body, value...)
	w.body = append(w.body, '"')
}

// time is when an update happened, in whole seconds.
func (w *writer) time(it item) {
	u := w.life.updates[it.update]
	at := w.began.Add(it.due - u.due + u.happened)
	w.body = append(w.body, `,"timestamp":"`...)
	w.body = strconv.AppendInt(w.body, at.Unix(), 10)
	w.body = append(w.body, '"')
}

// replyNumber is which of the replies an update is, from 1.
func (l *life) replyNumber(update int) int {
	n := 0
	for _, u := range l.updates[:update+1] {
		if u.kind == reply {
			n++
		}
	}
	return n
}
