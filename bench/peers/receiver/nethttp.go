package receiver

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"

	"spillway/bench/ack"
)

const maxBody = 4 << 20

// runNetHTTP is the receiver that one writes in an afternoon: the standard
// library's server and one fsync a request. Requests write and sync at the same
// time, without a lock, so that the file system can put their syncs together.
func runNetHTTP(ctx context.Context, path string, listening func(ack.Addresses)) error {
	file, err := openRecords(path)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(fmt.Errorf("listen: %w", err), file.Close())
	}
	mux := http.NewServeMux()
	mux.Handle("POST /api/webhook", &syncedFile{file})
	server := http.Server{Handler: mux}
	served := make(chan error, 1)
	go func() { served <- ignoreClosed(server.Serve(listener)) }()
	listening(ack.Addresses{Public: listener.Addr().String()})
	<-ctx.Done()
	ending, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	return errors.Join(server.Shutdown(ending), <-served, file.Close())
}

// syncedFile answers 200 once the body is in the file and that is synced.
type syncedFile struct{ file *os.File }

func (f *syncedFile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if !signed(r.Header.Get("X-Hub-Signature-256"), body) {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	_, err = f.file.Write(appendRecord(nil, body))
	if err == nil {
		err = f.file.Sync()
	}
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

func signed(header string, body []byte) bool {
	digits, _ := strings.CutPrefix(header, "sha256=")
	signature, err := hex.DecodeString(digits)
	if err != nil {
		return false
	}
	mac := hmac.New(sha256.New, []byte(ack.Secret))
	mac.Write(body)
	return hmac.Equal(signature, mac.Sum(nil))
}
