package embedded

import (
	"context"
	"encoding/json"
	"fmt"

	"spillway/dispatch/store"
)

// States gives the states of all endpoints that were ever set.
func (s *Store) States(ctx context.Context) (_ map[string]store.EndpointState, err error) {
	done, err := s.begin(ctx, opDeliver)
	if err != nil {
		return nil, err
	}
	defer func() { done(err) }()
	states := make(map[string]store.EndpointState)
	err = s.scan(tagState, func(k, v []byte) error {
		var state store.EndpointState
		if err := json.Unmarshal(v, &state); err != nil {
			return fmt.Errorf("read the state of endpoint %s: %w", k[1:], err)
		}
		states[string(k[1:])] = state
		return nil
	})
	return states, err
}

// SetState sets the state of an endpoint. It is durable when it returns.
func (s *Store) SetState(ctx context.Context, endpoint string, state store.EndpointState) (err error) {
	done, err := s.begin(ctx, opDeliver)
	if err != nil {
		return err
	}
	defer func() { done(err) }()
	if err := store.ValidateEndpoint(endpoint); err != nil {
		return fmt.Errorf("set endpoint state: %w", err)
	}
	v, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("set endpoint state: %w", err)
	}
	return s.setDurably(append([]byte{tagState}, endpoint...), v)
}
