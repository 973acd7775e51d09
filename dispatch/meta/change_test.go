package meta

import (
	"strings"
	"testing"
)

// wholeFields are all fields of Meta's that carry no messages and statuses.
const wholeFields = `smb_app_state_sync history calls flows group_lifecycle_update group_participants_update
	group_participant_update group_settings_update group_status_update user_preferences user_id_update
	business_username_updates business_username_update automatic_events messaging_handovers standby account_alerts
	account_update account_review_update account_settings_update business_capability_update
	message_template_status_update message_template_quality_update message_template_components_update
	template_category_update template_correct_category_detection phone_number_name_update phone_number_quality_update
	security partner_solutions payment_configuration_update consumer_profile tracking_events business_status_update
	a_field_of_tomorrow`

func TestEveryFieldPasses(t *testing.T) {
	const value = `{"metadata":{"phone_number_id":"P1"},"messages":[{"id":"M","from":"1555"}],"n":1.50,"nothing":null}`
	for field := range strings.FieldsSeq(wholeFields) {
		events, dead := Decode(received, []byte(changeOf(field, value)))
		if len(events) != 1 || len(dead) != 0 {
			t.Errorf("%s: %d events, dead letters %q", field, len(events), dead)
			continue
		}
		checkEvents(t, events)
		want := `{"waba_id":"W1","field":"` + field + `","value":` + value + `,"timestamp":"2026-01-02T03:04:05Z"}`
		if e := events[0]; e.Type != "webhook:"+field || string(e.Payload) != want || e.Key != "W1" || e.Customer != nil {
			t.Errorf("%s: %s %s", field, e.Type, e.Payload)
		}
	}
}

func TestEveryEchoFieldPasses(t *testing.T) {
	for _, field := range []string{"smb_message_echoes", "message_echoes"} {
		events, _ := Decode(received, []byte(changeOf(field, `{"message_echoes":[{"id":"E","to":"1555"}]}`)))
		if len(events) != 1 || events[0].Identity != "echo:E" {
			t.Errorf("%s: events %+v", field, events)
		}
		events, _ = Decode(received, []byte(changeOf(field, `{"message_echoes":[]}`)))
		if len(events) != 1 || events[0].Type != "webhook:"+field {
			t.Errorf("%s: events %+v", field, events)
		}
	}
}
