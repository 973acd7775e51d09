package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/fasthttp/websocket"

	"spillway/dispatch/stream/client"
)

func ExampleTail() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	url, done := serveText(cancel)
	defer done()
	err := printTexts(ctx, url, func(context.Context) (string, error) { return "a fresh token", nil })
	fmt.Println(err)
	// Output:
	// 6d0c Hello!
	// context canceled
}

// printTexts prints the texts that customers send, until ctx ends.
func printTexts(ctx context.Context, url string, token func(context.Context) (string, error)) error {
	return client.Tail(ctx, client.Options{
		URL:       url, // ws://127.0.0.1:8080/ws
		TokenFunc: token,
		Since:     "0",
		Events:    "message:new",
	}, func(event client.Event) error {
		var message struct {
			ContactID string `json:"contact_id"`
			Content   struct{ Text string }
		}
		if err := json.Unmarshal(event.Payload, &message); err != nil {
			return err
		}
		fmt.Println(message.ContactID, message.Content.Text)
		return nil // the event is handled; an error would end it
	})
}

// serveText streams one message, and has cancel called once that was read.
func serveText(cancel func()) (url string, done func()) {
	upgrader := websocket.Upgrader{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		_ = conn.WriteMessage(websocket.TextMessage, []byte(`{"id":"1","uid":"8a1c3e62-0f5b-5d0e-9d7e-0a3f6c1b2d4e",`+
			`"type":"message:new","payload":{"contact_id":"6d0c","content":{"text":"Hello!"}}}`))
		// The answer to the ping comes when the message before it was handled.
		conn.SetPongHandler(func(string) error { cancel(); return nil })
		_ = conn.WriteMessage(websocket.PingMessage, nil)
		_, _, _ = conn.ReadMessage()
	}))
	return server.URL, server.Close
}

// TestReadmeShowsExample holds the page to the code that runs.
func TestReadmeShowsExample(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	const mark = "<!-- go: run by ExampleTail -->\n```go\n"
	_, rest, _ := strings.Cut(string(page), mark)
	block, _, found := strings.Cut(rest, "```")
	if !found || !strings.Contains(string(source), block) {
		t.Errorf("example_test.go does not have the block of the page:\n%s", block)
	}
}
