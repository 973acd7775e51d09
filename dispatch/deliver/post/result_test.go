package post

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
)

// TestReasons has the errors that are hard to bring about; the others come of real
// endpoints in the tests beside.
func TestReasons(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for _, c := range []struct {
		err  error
		want string
	}{
		{dial(&net.DNSError{Name: "secret.example", IsNotFound: true}), "no such host"},
		{dial(&net.DNSError{Name: "secret.example", IsTimeout: true}), "name lookup failed"},
		{dial(os.ErrDeadlineExceeded), "connecting timed out"},
		{dial(os.NewSyscallError("connect", syscall.ETIMEDOUT)), "connecting timed out"},
		{dial(os.NewSyscallError("connect", syscall.ENETUNREACH)), "no route to the host"},
		{dial(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), "no route to the host"},
		{&net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.EPIPE)}, "connection reset"},
		{fmt.Errorf("broken: %w", io.ErrUnexpectedEOF), "connection closed before an answer"},
		{&tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired}}, "TLS: the certificate has expired or is not valid yet"},
		{&tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.IncompatibleUsage}}, "TLS: the certificate is not valid"},
		{&net.OpError{Op: "remote error", Err: tls.AlertError(40)}, "TLS: the handshake was refused"},
		{errors.New("malformed HTTP response \"secret\""), "no valid HTTP answer"},
	} {
		if got := reasonOf(c.err); got != c.want {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
	for outcome, want := range map[Outcome]string{Retry: "retry", Delivered: "delivered", Gone: "gone", Refused: "refused", Stopped: "stopped"} {
		if outcome.String() != want {
			t.Errorf("%d is %s, want %s", outcome, outcome, want)
		}
	}
}
