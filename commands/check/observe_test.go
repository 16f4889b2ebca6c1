package check

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/wstun/wstun/tunnel/mux"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// An observer records the first stream of each end, and its first bytes.
func TestObserver(t *testing.T) {
	t.Parallel()
	o := newObserver(wsmux.Client)
	theirs := o.observe(2, false)
	theirs.Received([]byte(http2.ClientPreface))
	ours := o.observe(1, true)
	ours.Accepted()
	for range 2 {
		ours.Received([]byte(strings.Repeat("x", maxReceived-1)))
	}
	ours.Closed(false)
	later := o.observe(3, true)
	later.Received([]byte("y"))
	if o.observe(4, false) != nil {
		t.Error("the peer's second stream is observed, too")
	}
	want := observation{
		role:     wsmux.Client,
		unclosed: 1,
		ours:     streamState{id: 1, accepted: true, received: []byte(strings.Repeat("x", maxReceived))},
		theirs:   streamState{id: 2, received: []byte(http2.ClientPreface)},
	}
	if got := o.current(); !reflect.DeepEqual(got, want) || got.equalRoles() || !got.peerCalls() {
		t.Errorf("%+v, want\n%+v", got, want)
	}
	ours.Closed(true)
	if got := o.current().ours; !got.ended || got.reset {
		t.Errorf("%+v after the peer has closed the stream", got)
	}
	later.End(mux.ErrReset)
	ours.End(nil)
	if got := o.current().unclosed; got != 0 {
		t.Errorf("%d streams of this end are unclosed, want 0", got)
	}
	theirs.End(mux.ErrReset)
	if got := o.current().theirs; !got.ended || !got.reset {
		t.Errorf("%+v after the peer has reset the stream", got)
	}
	for role, same := range map[wsmux.Role]uint32{wsmux.Client: 1, wsmux.Server: 2} {
		for id := range uint32(4) {
			r := observation{role: role, theirs: streamState{id: id + 1}}
			if got, want := r.equalRoles(), (id+1)%2 == same%2; got != want {
				t.Errorf("as the %v: equalRoles after stream %d = %v, want %v", role, id+1, got, want)
			}
		}
	}
}

// FuzzReceived passes arbitrary bytes as the first on a stream.
func FuzzReceived(f *testing.F) {
	f.Add([]byte(http2.ClientPreface))
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\n"))
	f.Add([]byte("\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		o := newObserver(wsmux.Client)
		o.observe(1, true).Received(data)
		kept := o.current().ours.received
		if len(kept) > maxReceived {
			t.Errorf("%d bytes are kept, want at most %d", len(kept), maxReceived)
		}
		isIdentifiable(kept)
		describeSettings(kept)
		if text := describeBytes(kept, nil); strings.ContainsAny(text, "\r\n\x1b") {
			t.Errorf("describeBytes(%q) = %q", kept, text)
		}
	})
}

func TestDescribeBytes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ data, want string }{
		{"", `""`},
		{"hello", `"hello"`},
		{"HTTP/1.1 502 Bad Gateway\r\nServer: x\r\n\r\n", `an HTTP/1 answer, "HTTP/1.1 502 Bad Gateway"`},
		{http2.ClientPreface, "an HTTP/2 client preface"},
		{"\x15\x03\x03\x00\x02\x02\x46", "a TLS alert"},
		{"\x16\x03\x01", "a TLS handshake"},
		{"\x00\x00\x06\x04\x00\x00\x00\x00\x00", "HTTP/2 SETTINGS"},
		{"\x00\x00\x00\x04\x01\x00\x00\x00\x00", `"\x00\x00\x00\x04\x01\x00\x00\x00\x00"`}, // an acknowledgment is never the first frame
	} {
		if got := describeBytes([]byte(test.data), nil); got != test.want {
			t.Errorf("describeBytes(%q) = %s, want %s", test.data, got, test.want)
		}
	}
}

func TestRemaining(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, test := range []struct {
		from, until time.Duration
		want        string
	}{
		{-time.Hour, 61*24*time.Hour + time.Minute, "61 days left"},
		{-time.Hour, 25 * time.Hour, "1 day left"},
		{-time.Hour, time.Hour, "less than a day left"},
		{-time.Hour, -time.Second, "expired at 2026-01-02 03:04:04 UTC"},
		{time.Hour, 2 * time.Hour, "valid from 2026-01-02 04:04:05 UTC"},
	} {
		cert := &x509.Certificate{NotBefore: now.Add(test.from), NotAfter: now.Add(test.until)}
		if got := remaining(cert, now); got != test.want {
			t.Errorf("from %v until %v: %q, want %q", test.from, test.until, got, test.want)
		}
	}
}

func TestCertificateNames(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		cert x509.Certificate
		want string
	}{
		{x509.Certificate{Subject: pkix.Name{CommonName: "hub"}, DNSNames: []string{"a.test"}}, "hub"},
		{x509.Certificate{DNSNames: []string{"a.test", "b.test"}}, "a.test"},
		{x509.Certificate{Subject: pkix.Name{Organization: []string{"Example"}}}, "Example"},
		{x509.Certificate{}, "no name"},
	} {
		if got := name(&test.cert); got != test.want {
			t.Errorf("name = %q, want %q", got, test.want)
		}
	}
	own := x509.Certificate{Subject: pkix.Name{CommonName: "hub"}, Issuer: pkix.Name{CommonName: "hub"}}
	if got := issuer(&own); got != "itself" {
		t.Errorf("issuer = %q", got)
	}
}
