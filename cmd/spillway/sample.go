package main

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
)

// sampleNames are what --sample takes.
var sampleNames = []string{"message", "image", "status"}

const (
	sampleHead = `{"object":"whatsapp_business_account","entry":[{"id":"102290129340398","changes":[{"value":{` +
		`"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550783881","phone_number_id":"106540352242922"},`
	sampleTail    = `},"field":"messages"}]}]}`
	sampleContact = `"contacts":[{"profile":{"name":"Sheena Nelson"},"wa_id":"16505551234"}],`
)

// newSample makes a webhook as Meta sends it, on one line, with a wamid that
// was never used before and the time of now. The customer is always the same.
func newSample(name string) ([]byte, error) {
	wamid, now := newWamid(), time.Now().Unix()
	var value string
	switch name {
	case "message":
		value = sampleContact + fmt.Sprintf(
			`"messages":[{"from":"16505551234","id":"%s","timestamp":"%d","type":"text","text":{"body":"Hello!"}}]`, wamid, now)
	case "image":
		value = sampleContact + fmt.Sprintf(
			`"messages":[{"from":"16505551234","id":"%s","timestamp":"%d","type":"image","image":{"caption":"The view",`+
				`"mime_type":"image\/jpeg","sha256":"KTF6Y4pNBcYv2cdTyEjjbsMuzYpAfpoi9ZN6rNoJeZs=","id":"1003383421387256"}}]`, wamid, now)
	case "status":
		value = fmt.Sprintf(
			`"statuses":[{"id":"%s","status":"delivered","timestamp":"%d","recipient_id":"16505551234",`+
				`"pricing":{"billable":true,"pricing_model":"PMP","category":"marketing","type":"regular"}}]`, wamid, now)
	default:
		return nil, usageError("--sample %q is not allowed; allowed: %s", name, strings.Join(sampleNames, ", "))
	}
	return []byte(sampleHead + value + sampleTail), nil
}

// newWamid makes a message id in the form of Meta's, 58 characters.
func newWamid() string {
	id := make([]byte, 39)
	_, _ = rand.Read(id) // never fails: it ends the process where there is no randomness
	return "wamid." + base64.StdEncoding.EncodeToString(id)
}
