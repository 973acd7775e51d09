package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"spillway/cmd/spillway/config"
)

// TestReadmeEndpoints loads the endpoint that the README shows: it must be valid,
// name every key, and have the defaults.
func TestReadmeEndpoints(t *testing.T) {
	block := readmeBlock(t, "endpoints", "yaml")
	options := checkOptions(t.TempDir(), "CRM_SECRET="+testSigningSecret)
	options.File = filepath.Join(t.TempDir(), "spillway.yaml")
	if err := os.WriteFile(options.File, []byte(block), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(options)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Endpoints) != 1 {
		t.Fatalf("%d endpoints", len(c.Endpoints))
	}
	got, want := c.Endpoints[0], config.DefaultEndpoint()
	want.Name, want.URL, want.Secrets = "crm", "https://crm.example.com/hook", []string{testSigningSecret}
	for _, list := range []*[]string{&got.Events, &got.PhoneNumberIDs, &got.WABAIDs, &got.AllowNets} {
		if len(*list) == 0 { // an empty list is one that is not set
			*list = nil
		}
	}
	if len(got.Headers) == 0 {
		got.Headers = nil
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the README's endpoint differs from the defaults:\n%+v\n%+v", got, want)
	}
	checkKeys(t, reflect.TypeFor[config.Endpoint](), block)
}

// hook is a delivery as an endpoint gets it.
type hook struct {
	name, secret, id, at, body string
	// change changes the header once it is signed.
	change func(http.Header)
	taken  bool
}

// hooks are deliveries that the README's receivers take or refuse with testSigningSecret.
func hooks() []hook {
	const body = `{"id":"x","uid":"u","type":"message:new","payload":{"content":{"text":"Größe"}}}`
	at := func(ago time.Duration) string { return strconv.FormatInt(time.Now().Add(-ago).Unix(), 10) }
	other := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, 24))
	now := at(0)
	return []hook{
		{name: "good", secret: testSigningSecret, id: "u", at: now, body: body, taken: true},
		{name: "another first", secret: testSigningSecret, id: "u", at: now, body: body, taken: true, change: func(h http.Header) {
			h.Set("webhook-signature", "v1,"+other+" "+h.Get("webhook-signature"))
		}},
		{name: "a few minutes late", secret: testSigningSecret, id: "u", at: at(4 * time.Minute), body: body, taken: true},
		{name: "too late", secret: testSigningSecret, id: "u", at: at(6 * time.Minute), body: body},
		{name: "too early", secret: testSigningSecret, id: "u", at: at(-6 * time.Minute), body: body},
		{name: "another secret", secret: other, id: "u", at: now, body: body},
		{name: "another id", secret: testSigningSecret, id: "u", at: now, body: body, change: func(h http.Header) { h.Set("webhook-id", "v") }},
		{name: "another time", secret: testSigningSecret, id: "u", at: now, body: body, change: func(h http.Header) { h.Set("webhook-timestamp", at(time.Minute)) }},
		{name: "no time", secret: testSigningSecret, id: "u", at: "", body: body},
		{name: "no number", secret: testSigningSecret, id: "u", at: "now", body: body},
		{name: "no signature", secret: testSigningSecret, id: "u", at: now, body: body, change: func(h http.Header) { h.Del("webhook-signature") }},
		{name: "longer in bytes", secret: testSigningSecret, id: "u", at: now, body: body, change: func(h http.Header) {
			h.Set("webhook-signature", strings.Repeat("\u00e9", len(h.Get("webhook-signature"))))
		}},
	}
}

// header signs the delivery, as Standard Webhooks says.
func (h hook) header(t *testing.T) http.Header {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(h.secret)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(h.id + "." + h.at + "." + h.body))
	header := http.Header{}
	header.Set("webhook-id", h.id)
	header.Set("webhook-timestamp", h.at)
	header.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	if h.change != nil {
		h.change(header)
	}
	return header
}

// TestReadmeVerify runs the receiver that the README shows, with what it has to take
// and to refuse.
func TestReadmeVerify(t *testing.T) {
	address, dir := freeAddress(t), t.TempDir()
	source, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "hook")
	text := strings.ReplaceAll(readmeBlock(t, "verify", "go"), "127.0.0.1:3000", address)
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", program, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var printed bytes.Buffer
	receiver := exec.Command(program)
	receiver.Env, receiver.Stdout, receiver.Stderr = append(os.Environ(), "SECRET=whsec_"+testSigningSecret), &printed, os.Stderr
	if err := receiver.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = receiver.Process.Kill(); _ = receiver.Wait() }()
	waitForListener(t, address)

	taken := 0
	for _, h := range hooks() {
		want := http.StatusUnauthorized
		if h.taken {
			want, taken = http.StatusNoContent, taken+1
		}
		if got := postHook(t, "http://"+address+"/hook", h); got != want {
			t.Errorf("%s: answered %d, want %d", h.name, got, want)
		}
	}
	_ = receiver.Process.Kill()
	_ = receiver.Wait()
	if got := strings.Count(printed.String(), `u {"id":"x","uid":"u"`); got != taken {
		t.Errorf("%d of %d are printed:\n%s", got, taken, printed.String())
	}
}

func postHook(t *testing.T, url string, h hook) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(h.body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = h.header(t)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

func waitForListener(t *testing.T, address string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// TestReadmeVerifyNode runs the function for Node that the README shows, where there is
// a Node.
func TestReadmeVerifyNode(t *testing.T) {
	node, err := exec.LookPath("node")
	if errors.Is(err, exec.ErrNotFound) {
		t.Log("not run, for there is no node")
		return
	}
	dir := t.TempDir()
	type call struct {
		Headers map[string]string
		Body    string
	}
	var calls []call
	for _, h := range hooks() {
		c := call{Headers: map[string]string{}, Body: h.body}
		for name, values := range h.header(t) {
			c.Headers[strings.ToLower(name)] = values[0]
		}
		calls = append(calls, c)
	}
	encoded, err := json.Marshal(calls)
	if err != nil {
		t.Fatal(err)
	}
	program := readmeBlock(t, "verify-node", "js") + fmt.Sprintf(
		"for (const c of %s) console.log(verified('whsec_%s', c.Headers, Buffer.from(c.Body)))\n", encoded, testSigningSecret)
	file := filepath.Join(dir, "verify.mjs")
	if err := os.WriteFile(file, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, node, file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	answers := strings.Fields(string(out))
	if len(answers) != len(calls) {
		t.Fatalf("it prints %s", out)
	}
	for i, h := range hooks() {
		if answers[i] != strconv.FormatBool(h.taken) {
			t.Errorf("%s: %s", h.name, answers[i])
		}
	}
}
