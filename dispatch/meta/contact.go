package meta

import (
	"bytes"

	"spillway/dispatch/event"
)

// contact is an element of contacts[], or the customer of an item.
type contact struct {
	waID, userID   id
	name, username id
}

func (d *decoder) readContacts(list ref) {
	d.contacts = d.contacts[:0]
	if list == 0 || d.nodes[list].kind != array {
		return
	}
	for item := list + 1; item < d.nodes[list].next; item = d.nodes[item].next {
		if d.nodes[item].kind == object {
			d.contacts = append(d.contacts, d.readContact(item))
		}
	}
}

func (d *decoder) readContact(item ref) contact {
	c, profile := contact{}, ref(0)
	for key := item + 1; key < d.nodes[item].next; key = d.nodes[key+1].next {
		switch value := d.present(key + 1); string(d.text(key)) {
		case "wa_id":
			c.waID = d.id(value)
		case "user_id":
			c.userID = d.id(value)
		case "profile":
			profile = value
		}
	}
	if profile != 0 {
		c.name = d.phrase(d.member(profile, "name"))
		c.username = d.phrase(d.member(profile, "username"))
	}
	return c
}

// complete adds to a customer, known by the item's own ids or by none, what
// contacts[] says about them.
//
// A contact belongs to the customer where an id of both is the same. A contact
// that is alone belongs to an item that is alone or names nobody, unless an id
// of both differs: that can be a number in two spellings, whose profile is right
// but whose ids must not be tied together.
func (d *decoder) complete(customer *contact) {
	for i := range d.contacts {
		if c := &d.contacts[i]; same(c.waID, customer.waID) || same(c.userID, customer.userID) {
			customer.fill(c)
			return
		}
	}
	anonymous := len(customer.waID.text) == 0 && len(customer.userID.text) == 0
	if len(d.contacts) != 1 || d.change.items != 1 && !anonymous {
		return
	}
	c := &d.contacts[0]
	if differ(c.waID, customer.waID) || differ(c.userID, customer.userID) {
		customer.name, customer.username = c.name, c.username
		return
	}
	customer.fill(c)
}

// fill takes over what the customer lacks.
func (customer *contact) fill(c *contact) {
	if len(customer.waID.text) == 0 {
		customer.waID = c.waID
	}
	if len(customer.userID.text) == 0 {
		customer.userID = c.userID
	}
	customer.name, customer.username = c.name, c.username
}

func same(a, b id) bool { return len(a.text) > 0 && bytes.Equal(a.text, b.text) }

func differ(a, b id) bool {
	return len(a.text) > 0 && len(b.text) > 0 && !bytes.Equal(a.text, b.text)
}

// asCustomer is nil for a customer without any id. Only one who writes has a
// profile: nobody else's changes a contact.
func (d *decoder) asCustomer(c *contact, writes bool) *event.Customer {
	if len(c.waID.text) == 0 && len(c.userID.text) == 0 {
		return nil
	}
	customer := &event.Customer{
		WABA: d.entry.waba,
		WaID: string(c.waID.text), UserID: string(c.userID.text),
		Writes: writes,
	}
	if writes {
		customer.Name, customer.Username = string(c.name.text), string(c.username.text)
	}
	customer.Contact = customer.Candidate()
	return customer
}
