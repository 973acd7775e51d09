package post

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// Outcome says what is to be done about a delivery.
type Outcome uint8

const (
	// Retry: it may get through later. The endpoint could not be reached, or said so.
	Retry Outcome = iota
	// Delivered: the endpoint answered 2xx.
	Delivered
	// Gone: it answered 410, and wants no more.
	Gone
	// Refused: it answered that it will not take this one, whenever it is sent.
	Refused
	// Stopped: the caller's context ended first. It says nothing of the endpoint, which
	// may or may not have had it.
	Stopped
)

func (o Outcome) String() string {
	switch o {
	case Delivered:
		return "delivered"
	case Gone:
		return "gone"
	case Refused:
		return "refused"
	case Stopped:
		return "stopped"
	default:
		return "retry"
	}
}

// Result is what came of one try.
type Result struct {
	Outcome Outcome
	// Code is the answer's status, 0 where none came.
	Code int
	// RetryAfter is how long the endpoint asked to be left alone, with Retry: at most
	// MaxRetryAfter, 0 where it did not ask.
	RetryAfter time.Duration
	// Reason says in a few fixed words why it was not delivered, without anything of the
	// URL or the answer but its status.
	Reason string
	// Took is the time until the answer's header came, or none did.
	Took time.Duration
}

// MaxRetryAfter bounds what an endpoint may ask for.
const MaxRetryAfter = time.Hour

// answered is the result for an answer that came at now.
func answered(answer *http.Response, now time.Time) Result {
	result := Result{Outcome: outcomeOf(answer.StatusCode), Code: answer.StatusCode}
	switch {
	case result.Outcome == Delivered:
		return result
	case result.Outcome == Retry:
		result.RetryAfter = retryAfter(answer.Header.Get("Retry-After"), now)
	}
	result.Reason = strings.TrimSpace("answered " + strconv.Itoa(result.Code) + " " + http.StatusText(result.Code))
	if result.Code/100 == 3 {
		result.Reason += ": redirects are not followed"
	}
	return result
}

func outcomeOf(code int) Outcome {
	switch {
	case code/100 == 2:
		return Delivered
	case code == http.StatusGone:
		return Gone
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests, code >= 500:
		return Retry
	default:
		return Refused
	}
}

// retryAfter takes both forms of the header: seconds, or a date. What is neither is
// 0, what is past too; it is never above MaxRetryAfter.
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if value == "" {
		return 0
	}
	if strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseUint(value, 10, 32)
		if err != nil || seconds > uint64(MaxRetryAfter/time.Second) {
			return MaxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return max(0, min(date.Sub(now), MaxRetryAfter))
}

// reasonOf names what kept an answer from coming. The error's own text may hold what
// the endpoint sent, so none of it is used.
func reasonOf(err error) string {
	var dns *net.DNSError
	var operation *net.OpError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, ssrf.ErrProhibitedIP), errors.Is(err, ssrf.ErrProhibitedNetwork):
		return "address not allowed: it is neither public nor in an allowed network"
	case errors.As(err, &dns) && dns.IsNotFound:
		return "no such host"
	case errors.As(err, &dns):
		return "name lookup failed"
	case errors.As(err, &timeout) && timeout.Timeout():
		if errors.As(err, &operation) && operation.Op == "dial" {
			return "connecting timed out"
		}
		return "timed out"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route to the host"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed before an answer"
	}
	return tlsReason(err)
}

func tlsReason(err error) string {
	var name x509.HostnameError
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var certificate *tls.CertificateVerificationError
	var alert tls.AlertError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &name):
		return "TLS: the certificate is for another name"
	case errors.As(err, &unknown):
		return "TLS: the certificate is of an unknown authority"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "TLS: the certificate has expired or is not valid yet"
	case errors.As(err, &certificate):
		return "TLS: the certificate is not valid"
	case errors.As(err, &alert):
		return "TLS: the handshake was refused"
	case errors.As(err, &record):
		return "TLS: the endpoint does not speak it"
	default:
		return "no valid HTTP answer"
	}
}
