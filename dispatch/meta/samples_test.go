package meta

import (
	"bytes"
	"fmt"
	"strings"
)

// campaignStatus is what arrives most: one status of a campaign's message.
const campaignStatus = `{"object":"whatsapp_business_account","entry":[{"id":"215589313241560883","changes":[{"value":{` +
	`"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550783881","phone_number_id":"106540352242922"},` +
	`"statuses":[{"id":"wamid.HBgLMTU1NTAwMDEwMDgVAgARGBI5QTNDQTVCM0Q0Q0Q2RTY3RTcA","status":"delivered",` +
	`"timestamp":"1767323045","recipient_id":"15550001008","recipient_user_id":"US.13491208655302741918",` +
	`"conversation":{"id":"6ceb9d929c9bdc4f90be0fc3bb1ab1ae","origin":{"type":"marketing"}},` +
	`"pricing":{"billable":true,"pricing_model":"PMP","type":"regular","category":"marketing"}}]},"field":"messages"}]}]}`

const textMessage = `{"object":"whatsapp_business_account","entry":[{"id":"215589313241560883","changes":[{"value":{` +
	`"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550783881","phone_number_id":"106540352242922"},` +
	`"contacts":[{"profile":{"name":"Zo\u00eb Fern\u00e1ndez"},"wa_id":"15550001008"}],` +
	`"messages":[{"from":"15550001008","id":"wamid.HBgLMTU1NTAwMDEwMDgVAgASGBQzQTdGNEM2RkQ1RTBBMjQxRDlFRgA=",` +
	`"timestamp":"1767323045","type":"text","text":{"body":"Is it in stock?"}}]},"field":"messages"}]}]}`

// inChange wraps the value of a change of field messages.
func inChange(value string) string {
	return `{"object":"whatsapp_business_account","entry":[{"id":"W1","changes":[{"value":` + value + `,"field":"messages"}]}]}`
}

// inValue wraps lists, as in `"messages":[…]`.
func inValue(lists string) string {
	return inChange(`{"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550783881","phone_number_id":"P1"},` + lists + `}`)
}

// statuses is a webhook of n statuses.
func statuses(n int) []byte {
	var list bytes.Buffer
	for i := range n {
		fmt.Fprintf(&list, `,{"id":"wamid.HBgLMTU1NTAwMDEwMDgVAgARGBI5QTNDQTVCM0Q0Q0Q%06d=","status":"sent","timestamp":"1767323045",`+
			`"recipient_id":"1555%07d","pricing":{"billable":true,"pricing_model":"PMP","type":"regular","category":"marketing"}}`, i, i)
	}
	return []byte(inValue(`"statuses":[` + strings.TrimPrefix(list.String(), ",") + `]`))
}

const sampleContacts = `"contacts":[{"profile":{"name":"Ana"},"wa_id":"15550001008"}],`

// typed is a webhook with one message of a type.
func typed(kind, object string) string {
	return inValue(sampleContacts + `"messages":[{"from":"15550001008","id":"wamid.M","timestamp":"1767323045",` +
		`"type":"` + kind + `"` + object + `}]`)
}

func echoOf(kind, object string) string {
	return `{"entry":[{"id":"W1","changes":[{"field":"smb_message_echoes","value":{"metadata":{"display_phone_number":"15550783881",` +
		`"phone_number_id":"P1"},"message_echoes":[{"from":"15550783881","to":"15550001008","id":"wamid.E","timestamp":"1767323045",` +
		`"type":"` + kind + `",` + object + `}]}}]}]}`
}

func statusOf(fields string) string {
	return inValue(`"statuses":[{"id":"wamid.S","timestamp":"1767323045",` + fields + `}]`)
}

func changeOf(field, value string) string {
	return `{"entry":[{"id":"W1","time":1767323045,"changes":[{"field":"` + field + `","value":` + value + `}]}]}`
}

// golden are webhooks whose events are written out in testdata, one file a group.
var golden = map[string][]struct{ name, body string }{
	"messages": {
		{"text", typed("text", `,"text":{"body":"Hello!"}`)},
		{"text with escapes", typed("text", `,"text":{"body":"\u00a1Hola! \ud83d\ude00 \"q\" a\/b\n"}`)},
		{"image", typed("image", `,"image":{"caption":"Blue","mime_type":"image\/jpeg","sha256":"aa=","id":"1003383421387256","url":"https:\/\/lookaside.example.com\/m?id=1"}`)},
		{"video", typed("video", `,"video":{"mime_type":"video/mp4","sha256":"aa=","id":"1"}`)},
		{"document", typed("document", `,"document":{"filename":"a.pdf","mime_type":"application/pdf","sha256":"aa=","id":"1"}`)},
		{"audio", typed("audio", `,"audio":{"mime_type":"audio/ogg; codecs=opus","sha256":"aa=","id":"1","voice":true}`)},
		{"sticker", typed("sticker", `,"sticker":{"mime_type":"image/webp","sha256":"aa=","id":"1","animated":false}`)},
		{"location", typed("location", `,"location":{"latitude":37.4421010,"longitude":-122.1615170,"name":"Philz","address":"101 Forest Ave"}`)},
		{"contacts", typed("contacts", `,"contacts":[{"name":{"formatted_name":"Bo","first_name":"Bo"},"phones":[{"phone":"+1 555 000 1009","wa_id":"15550001009","type":"HOME"}]}]`)},
		{"interactive button_reply", typed("interactive", `,"interactive":{"type":"button_reply","button_reply":{"id":"cancel","title":"Cancel"}},"context":{"from":"15550783881","id":"wamid.C"}`)},
		{"interactive list_reply", typed("interactive", `,"interactive":{"type":"list_reply","list_reply":{"id":"p1","title":"Priority","description":"Next day"}}`)},
		{"interactive nfm_reply", typed("interactive", `,"interactive":{"type":"nfm_reply","nfm_reply":{"response_json":"{\"flow_token\":\"t\"}","body":"Sent","name":"flow"}}`)},
		{"interactive call_permission_reply", typed("interactive", `,"interactive":{"type":"call_permission_reply","call_permission_reply":{"response":"accept","expiration_timestamp":1767923045}}`)},
		{"button", typed("button", `,"button":{"payload":"Unsubscribe","text":"Unsubscribe"}`)},
		{"reaction", typed("reaction", `,"reaction":{"message_id":"wamid.R","emoji":"\ud83d\udc4d"}`)},
		{"reaction removed", typed("reaction", `,"reaction":{"message_id":"wamid.R"}`)},
		{"order", typed("order", `,"order":{"catalog_id":"194836987003835","text":"","product_items":[{"product_retailer_id":"di9ozbzfi4","quantity":2,"item_price":30.50,"currency":"USD"}]}`)},
		{"unsupported", typed("unsupported", `,"unsupported":{"type":"poll"},"errors":[{"code":131051,"title":"Message type unknown"}]`)},
		{"unsupported without object", typed("unsupported", `,"errors":[{"code":131051,"title":"Message type unknown"}]`)},
		{"unknown", typed("unknown", `,"errors":[{"code":131051,"title":"Unsupported message type"}]`)},
		{"edit", typed("edit", `,"edit":{"original_message_id":"wamid.O","message":{"type":"text","text":{"body":"New"}}}`)},
		{"revoke", typed("revoke", `,"revoke":{"original_message_id":"wamid.O"}`)},
		{"media_placeholder", typed("media_placeholder", `,"media_placeholder":{"reason":"pending"}`)},
		{"request_welcome", typed("request_welcome", ``)},
		{"a type of tomorrow", typed("hologram", `,"hologram":{"depth":[1,2.50e1]}`)},
		{"system", inValue(`"messages":[{"from":"15550001008","id":"wamid.M","timestamp":1767323045,"type":"system",` +
			`"system":{"body":"Ana changed from 15550001008 to 15550001009","wa_id":"15550001009","type":"user_changed_number"}}]`)},
		{"forwarded from an advertisement", typed("text", `,"text":{"body":"Hi"},"context":{"forwarded":true},"referral":{"source_url":"https://fb.me/1","source_type":"ad","ctwa_clid":"c"}`)},
		{"group", inValue(sampleContacts + `"messages":[{"from":"15550001008","group_id":"G1","id":"wamid.M","timestamp":"1767323045","type":"text","text":{"body":"Hi all"}}]`)},
		{"a user without a number", inValue(`"contacts":[{"profile":{"name":"Ana","username":"ana"},"user_id":"US.13491208655302741918"}],` +
			`"messages":[{"from_user_id":"US.13491208655302741918","id":"wamid.M","timestamp":"1767323045","type":"text","text":{"body":"Hi"}}]`)},
	},
	"echoes": {
		{"text", echoOf("text", `"text":{"body":"We are open"}`)},
		{"revoke", echoOf("revoke", `"revoke":{"original_message_id":"wamid.O"}`)},
	},
	"statuses": {
		{"sent", statusOf(`"status":"sent","recipient_id":"15550001008","biz_opaque_callback_data":"order 7","conversation":{"id":"c1","expiration_timestamp":"1767409445","origin":{"type":"service"}},"pricing":{"billable":true,"pricing_model":"CBP","category":"service"}`)},
		{"delivered", statusOf(`"status":"delivered","recipient_id":"15550001008","pricing":{"billable":false,"pricing_model":"PMP","type":"free_customer_service","category":"service"}`)},
		{"read", statusOf(`"status":"read","recipient_id":"15550001008"`)},
		{"played", statusOf(`"status":"played","recipient_id":"15550001008"`)},
		{"failed", statusOf(`"status":"failed","recipient_id":"15550001008","errors":[{"code":131026,"title":"Message undeliverable","message":"Message undeliverable","error_data":{"details":"Unable"},"href":"https:\/\/example.com\/"}]`)},
		{"deleted", statusOf(`"status":"deleted","recipient_id":"15550001008"`)},
		{"warning", statusOf(`"status":"warning","recipient_id":"15550001008","errors":[{"code":131031,"title":"Locked"}]`)},
		{"a user without a number", statusOf(`"status":"read","recipient_user_id":"US.13491208655302741918"`)},
		{"a participant of a group", statusOf(`"status":"read","recipient_type":"group","recipient_id":"G1","recipient_participant_id":"15550001008"`)},
		{"a participant without a number", statusOf(`"status":"read","recipient_type":"group","recipient_id":"G1","recipient_participant_user_id":"US.13491208655302741918"`)},
		{"a group as a whole", statusOf(`"status":"sent","recipient_type":"group","recipient_id":"G1"`)},
	},
	"changes": {
		{"account_update", changeOf("account_update", `{"phone_number":"15550783881","event":"VERIFIED_ACCOUNT"}`)},
		{"numbers as they are", changeOf("message_template_status_update", `{"event":"APPROVED","message_template_id":12345678901234567890,"reason":null}`)},
		{"errors", inValue(`"errors":[{"code":130429,"title":"Rate limit hit"}]`)},
		{"messages without content", inValue(`"messages":[]`)},
	},
}
