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
	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// A watch keeps the first stream that each end opens, and the first bytes of it.
func TestWatch(t *testing.T) {
	t.Parallel()
	w := newWatch(wsmux.Client)
	theirs := w.observe(2, false)
	theirs.Received([]byte(http2.ClientPreface))
	ours := w.observe(1, true)
	ours.Accepted()
	for range 2 {
		ours.Received([]byte(strings.Repeat("x", maxHead-1)))
	}
	ours.Closed(false)
	for _, id := range []uint32{3, 4} {
		if o := w.observe(id, id == 3); o != nil {
			t.Errorf("stream %d is observed, too", id)
		}
	}
	want := record{
		role:   wsmux.Client,
		ours:   heard{id: 1, accepted: true, data: []byte(strings.Repeat("x", maxHead))},
		theirs: heard{id: 2, data: []byte(http2.ClientPreface)},
	}
	if got := w.now(); !reflect.DeepEqual(got, want) || got.sameRole() || !got.calls() {
		t.Errorf("%+v, want\n%+v", got, want)
	}
	ours.Closed(true)
	if got := w.now().ours; !got.ended || got.reset {
		t.Errorf("%+v after the peer has closed the stream", got)
	}
	theirs.End(mux.ErrReset)
	if got := w.now().theirs; !got.ended || !got.reset {
		t.Errorf("%+v after the peer has reset the stream", got)
	}
	for role, same := range map[wsmux.Role]uint32{wsmux.Client: 1, wsmux.Server: 2} {
		for id := range uint32(4) {
			r := record{role: role, theirs: heard{id: id + 1}}
			if got, want := r.sameRole(), (id+1)%2 == same%2; got != want {
				t.Errorf("as the %v: sameRole after stream %d = %v, want %v", role, id+1, got, want)
			}
		}
	}
}

// FuzzHead has any bytes be the first on a stream.
func FuzzHead(f *testing.F) {
	f.Add([]byte(http2.ClientPreface))
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\n"))
	f.Add([]byte("\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		w := newWatch(wsmux.Client)
		w.observe(1, true).Received(data)
		kept := w.now().ours.data
		if len(kept) > maxHead {
			t.Errorf("%d bytes are kept, want at most %d", len(kept), maxHead)
		}
		settled(kept)
		settings(kept)
		if text := netdiag.Printable(quote(kept), maxDetail); strings.ContainsAny(text, "\r\n\x1b") {
			t.Errorf("quote(%q) = %q", kept, text)
		}
	})
}

func TestIdentify(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ data, want string }{
		{"", ""},
		{"hello", ""},
		{"HTTP/1.1 502 Bad Gateway\r\nServer: x\r\n\r\n", `an HTTP/1 answer, "HTTP/1.1 502 Bad Gateway"`},
		{http2.ClientPreface, "an HTTP/2 client preface"},
		{"\x15\x03\x03\x00\x02\x02\x46", "a TLS alert"},
		{"\x16\x03\x01", "a TLS handshake"},
		{"\x00\x00\x06\x04\x00\x00\x00\x00\x00", "HTTP/2 SETTINGS"},
		{"\x00\x00\x00\x04\x01\x00\x00\x00\x00", ""}, // an acknowledgement doesn't come first
	} {
		if got := identify([]byte(test.data)); got != test.want {
			t.Errorf("identify(%q) = %q, want %q", test.data, got, test.want)
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
		{-time.Hour, -time.Second, "expired since 2026-01-02 03:04:04 UTC"},
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
