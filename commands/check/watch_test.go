package check

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/wsmux"
)

// frame is a yamux frame's header.
func frame(kind, flags, stream, length byte) string {
	return string([]byte{0, kind, 0, flags, 0, 0, 0, stream, 0, 0, 0, length})
}

func watched(role wsmux.Role, data string, piece int) record {
	w := newWatch(role)
	for len(data) > 0 {
		n := min(piece, len(data))
		w.inspect([]byte(data[:n]))
		data = data[n:]
	}
	return w.now()
}

func TestWatch(t *testing.T) {
	t.Parallel()
	const preface = clientPreface
	for _, test := range []struct {
		name string
		role wsmux.Role
		data string
		want record
	}{
		{
			"accepted and ended", wsmux.Client, frame(typeWindowUpdate, flagACK, 1, 0) + frame(typeData, flagFIN, 1, 2) + "hi",
			record{ours: heard{id: 1, accepted: true, ended: true, data: []byte("hi")}},
		},
		{"reset", wsmux.Server, frame(typeWindowUpdate, flagRST, 2, 0), record{ours: heard{id: 2, reset: true, ended: true}}},
		{
			"opened by the peer", wsmux.Client, frame(typeWindowUpdate, flagSYN, 2, 0) + frame(typeData, 0, 2, byte(len(preface))) + preface + frame(typeData, 0, 1, 1) + "x",
			record{ours: heard{id: 1, data: []byte("x")}, theirs: heard{id: 2, data: []byte(preface)}},
		},
		{
			"opened with data, in the same role", wsmux.Client, frame(typeData, flagSYN, 1, 1) + "a" + frame(typeData, flagSYN, 3, 1) + "b",
			record{ours: heard{id: 1}, theirs: heard{id: 1, data: []byte("a")}},
		},
		{"Pings that count", wsmux.Client, frame(typePing, flagSYN, 0, 0) + frame(typePing, flagACK, 0, 0) + frame(typePing, flagSYN, 0, 1), record{ours: heard{id: 1}, echoes: 2}},
		{"Pings of another number", wsmux.Client, frame(typePing, flagSYN, 0, 7), record{ours: heard{id: 1}}},
		{"GoAway", wsmux.Client, frame(typeGoAway, 0, 0, 0), record{ours: heard{id: 1}, goAway: true}},
		{"garbage behind a frame", wsmux.Client, frame(typePing, flagACK, 0, 0) + "HTTP/1.1 400", record{ours: heard{id: 1}, broken: true}},
		{"unknown type", wsmux.Client, "\x00\x04", record{ours: heard{id: 1}, broken: true}},
		{"data on stream 0", wsmux.Client, frame(typeData, 0, 0, 1), record{ours: heard{id: 1}, broken: true}},
		{
			"more than is kept", wsmux.Client, frame(typeData, 0, 1, 255) + strings.Repeat("x", 255) + frame(typeData, 0, 1, 255) + strings.Repeat("x", 255),
			record{ours: heard{id: 1, data: []byte(strings.Repeat("x", maxHead))}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, piece := range []int{1, 5, 1000} {
				got := watched(test.role, test.data, piece)
				if head := test.data[:min(maxHead, len(test.data))]; string(got.head) != head && !got.broken {
					t.Errorf("in pieces of %d: head %q, want %q", piece, got.head, head)
				}
				got.head = nil
				if !reflect.DeepEqual(got, test.want) {
					t.Errorf("in pieces of %d:\n%+v, want\n%+v", piece, got, test.want)
				}
			}
		})
	}
}

// However what a peer sends is cut up, the same is seen, and no more is kept.
func FuzzWatch(f *testing.F) {
	f.Add([]byte(frame(typeWindowUpdate, flagSYN, 1, 0)+frame(typeData, 0, 1, 24)+clientPreface), uint8(3))
	f.Add([]byte(frame(typePing, flagSYN, 0, 0)+frame(typeGoAway, 0, 0, 1)+"HTTP/1.1 200 OK\r\n\r\n"), uint8(1))
	f.Add([]byte("\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00"), uint8(7))
	f.Fuzz(func(t *testing.T, data []byte, piece uint8) {
		whole := watched(wsmux.Client, string(data), len(data)+1)
		cut := watched(wsmux.Client, string(data), int(piece)+1)
		if !reflect.DeepEqual(whole, cut) {
			t.Errorf("in pieces of %d: %+v, want %+v", piece, cut, whole)
		}
		for _, kept := range [][]byte{whole.head, whole.ours.data, whole.theirs.data} {
			if len(kept) > maxHead {
				t.Errorf("%d bytes are kept, want at most %d", len(kept), maxHead)
			}
			settled(kept)
			settings(kept)
			if text := clean(quote(kept)); strings.ContainsAny(text, "\r\n\x1b") {
				t.Errorf("quote(%q) = %q", kept, text)
			}
		}
	})
}

func TestIdentify(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ data, want string }{
		{"", ""},
		{"hello", ""},
		{"HTTP/1.1 502 Bad Gateway\r\nServer: x\r\n\r\n", `an HTTP/1 answer, "HTTP/1.1 502 Bad Gateway"`},
		{clientPreface, "an HTTP/2 client preface"},
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
