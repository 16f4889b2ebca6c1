package trace

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

func TestParseTimeout(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]time.Duration{
		"5S": 5 * time.Second, "1H": time.Hour, "2M": 2 * time.Minute, "300m": 300 * time.Millisecond,
		"7u": 7 * time.Microsecond, "9n": 9, "00000001S": time.Second, "99999999S": 99999999 * time.Second, "0n": 0,
		"99999999H": 2562047 * time.Hour, // the largest
		"":          0, "S": 0, "5": 0, "5s": 0, "5h": 0, "-5S": 0, "+5S": 0, " 5S": 0, "5.5S": 0, "0x5S": 0, "1_0S": 0, "5S ": 0, "\xff": 0,
		"100000000S": 0, strings.Repeat("9", 1<<20) + "H": 0,
	} {
		if got := parseTimeout(s); got != want {
			t.Errorf("parseTimeout(%.20q) = %v, want %v", s, got, want)
		}
	}
}

func TestUnescapeMessage(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"": "", "no such key": "no such key", "a%20b": "a b", "%C3%a4": "ä", "%25": "%", "%2525": "%25",
		"%": "%", "%2": "%2", "a%zzb": "a%zzb", "%+1": "%+1", "%0x": "%0x", "%%41": "%A", "%00%1b[31m": "\x00\x1b[31m",
	} {
		if got := unescapeMessage(s); got != want {
			t.Errorf("unescapeMessage(%q) = %q, want %q", s, got, want)
		}
	}
}

// Metadata that is sent as bytes becomes base64, also that which fits only as bytes.
func TestBinaryMetadata(t *testing.T) {
	t.Parallel()
	tracer, events := newTracer(t, 0, Output{})
	h := newHostile(tracer, 4096)
	h.request(1, hpack.HeaderField{Name: "x-bin", Value: "\x00\x00\x01\xfe\xff"}, hpack.HeaderField{Name: "y-bin", Value: "\x00"},
		hpack.HeaderField{Name: "z-bin", Value: "AAH+/w=="}, hpack.HeaderField{Name: "x", Value: "\x00\x01"})
	h.request(3, hpack.HeaderField{Name: "x-bin", Value: strings.Repeat("\x00", maxFields-200)})
	h.o.End(nil)
	got := events()[:2]
	check(t, got,
		"1.1 client_header /test.S/M content-type=application/grpc x-bin=AAH+/w y-bin= z-bin=AAH+/w== x=\x00\x01",
		"2.1 client_header /test.S/M content-type=application/grpc")
	if got[0].Omitted || !got[1].Omitted {
		t.Errorf("metadata is omitted: %t, %t, want that of the second call", got[0].Omitted, got[1].Omitted)
	}
}

func TestIsSecret(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"authorization": true, "proxy-authorization": true, "cookie": true, "set-cookie": true, "x-csrf-token": true, "token": true,
		"my-secret-bin": true, "password": true, "x-api-key": true, "x-goog-iam-authority-selector": true,
		"Authorization": true, "a/authorization": true, "x-auth": true, "x-authority": true,
		"": false, "authority": false, "user-agent": false, "x-goog-request-params": false, "api": false, strings.Repeat("t", 1<<16): false,
	} {
		if got := IsSecret(name); got != want {
			t.Errorf("IsSecret(%.40q) = %t, want %t", name, got, want)
		}
	}
}

func TestRedaction(t *testing.T) {
	t.Parallel()
	asked := map[string]int{}
	tracer, events := newTracer(t, 0, Output{IsSecret: func(name string) bool {
		asked[name]++
		return name == "mine"
	}})
	h := newHostile(tracer, 4096)
	for stream := uint32(1); stream < 5; stream += 2 {
		h.request(stream, hpack.HeaderField{Name: "mine", Value: "s3cret"}, hpack.HeaderField{Name: "authorization", Value: "shown"},
			hpack.HeaderField{Name: "never-indexed", Value: "s3cret", Sensitive: true})
		h.headers(Server, stream, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, hpack.HeaderField{Name: "mine", Value: "s3cret"},
			hpack.HeaderField{Name: "grpc-status", Value: "14", Sensitive: true})
	}
	h.o.End(nil)
	got := events()
	for call := range 2 {
		check(t, got[2*call:2*call+2],
			fmt.Sprintf("%d.1 client_header /test.S/M content-type=application/grpc mine=[redacted] authorization=shown never-indexed=[redacted]", call+1),
			fmt.Sprintf("%d.2 server_trailer mine=[redacted] grpc-status=14 Unavailable", call+1))
	}
	if asked["mine"] != 1 {
		t.Errorf("IsSecret was called %d times for one name", asked["mine"])
	}
}

// Secret values that are kept are marked.
func TestKeptSecrets(t *testing.T) {
	t.Parallel()
	var secrets []string
	sink := sinkFunc(func(e *Event) {
		for _, f := range e.Metadata {
			if f.Sensitive {
				secrets = append(secrets, f.Name+"="+f.Value)
			}
		}
	})
	tracer := New(0, Output{Sink: sink, Secrets: true})
	h := newHostile(tracer, 4096)
	h.request(1, hpack.HeaderField{Name: "authorization", Value: "s3cret"}, hpack.HeaderField{Name: "never-indexed", Value: "s3cret", Sensitive: true},
		hpack.HeaderField{Name: "grpc-encoding", Value: "gzip", Sensitive: true})
	h.o.End(nil)
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(secrets); got != "[authorization=s3cret never-indexed=s3cret]" {
		t.Errorf("marked: %s", got)
	}
}

type sinkFunc func(*Event)

func (f sinkFunc) Event(e *Event)              { f(e) }
func (sinkFunc) Flush(time.Time) (_ time.Time) { return }
func (sinkFunc) Close()                        {}

// The names of metadata are remembered up to a limit.
func TestRedactorMemory(t *testing.T) {
	t.Parallel()
	r := redactor{IsSecret, false, map[string]bool{}}
	for i := range 3 * maxKnown {
		r.redact([]hpack.HeaderField{{Name: fmt.Sprint(i)}, {Name: fmt.Sprintf("%0200d", i)}})
	}
	for name := range r.known {
		if len(name) > maxKnownName {
			t.Fatalf("a name of %d bytes is remembered", len(name))
		}
	}
	if len(r.known) > maxKnown {
		t.Errorf("%d names are remembered", len(r.known))
	}
}

// After an error of HPACK, calls are traced without their names, but with messages.
func TestHPACKError(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, message string
		block         []byte
	}{
		{"index", "decoding error: invalid indexed representation index 126", []byte{0xfe}},
		{"truncated", "decoding error: truncated headers", []byte{0x00, 0x05, 'a'}},
		{"table size", "decoding error: dynamic table size update too large", []byte{0x3f, 0xe2, 0x1f}}, // 4097
		{"long table size", "decoding error: varint integer overflow", append([]byte{0x3f}, bytes.Repeat([]byte{0xff}, 20)...)},
		{"long string", "hpack: string too long", binary.AppendUvarint([]byte{0x00, 0x7f}, maxBlock)},
		{"long block", errLongBlock.Error(), make([]byte, maxBlock+1)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tracer, events := newTracer(t, 0, Output{})
			h := newHostile(tracer, 4096)
			h.request(1)
			_ = h.f[Client].WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 3, test.block)
			_ = h.f[Client].WriteData(3, true, []byte("\x00\x00\x00\x00\x00"))
			h.flush()
			h.request(5)
			const end = http2.FlagHeadersEndHeaders | http2.FlagHeadersEndStream
			for stream := uint32(1); stream < 6; stream += 2 {
				h.headers(Server, stream, end, hpack.HeaderField{Name: "grpc-status", Value: "0"})
			}
			h.o.End(nil)
			check(t, events(), "1.1 "+clientHeader,
				fmt.Sprintf("0.0 other %q by client: sent 0, received 0", "header lists that can't be decoded: "+test.message),
				"2.1 client_header ?", "2.2 client_message 0 0", "2.3 client_half_close", "3.1 client_header ?",
				"1.2 server_trailer grpc-status=0 OK", "2.4 server_trailer grpc-status=0 OK", "3.2 server_trailer grpc-status=0 OK")
		})
	}
}

// A peer may use as large a table as the other has announced.
func TestTableSize(t *testing.T) {
	t.Parallel()
	tracer, events := newTracer(t, 0, Output{})
	h := newHostile(tracer, 64<<10)
	h.fill(64<<10, 2000)
	h.fill(64<<10, 2000)
	h.request(101)
	h.hpack[Client].SetMaxDynamicTableSize(0) // two updates in one block
	h.hpack[Client].SetMaxDynamicTableSize(8 << 10)
	h.request(103)
	h.request(105)
	h.o.End(nil)
	n := 0
	for _, e := range events() {
		switch {
		case e.Type == Other:
			t.Error(e.Message)
		case e.Method == "/test.S/M" && e.Type == ClientHeader:
			n++
		}
	}
	if n != 3 {
		t.Errorf("%d calls, want 3", n)
	}
}

func TestHeaderLimits(t *testing.T) {
	t.Parallel()
	tracer, events := newTracer(t, 0, Output{})
	h := newHostile(tracer, 4096)
	fields := []hpack.HeaderField{unindexed("large", maxFields), unindexed("a", maxFields/2), unindexed("b", maxFields/2), unindexed("c", 1)}
	h.request(1, append(fields, unindexed(":path", 10*maxMethod), unindexed(":authority", 10*maxMethod))...)
	h.headers(Server, 1, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream,
		unindexed(":status", 1000), unindexed("content-type", 1000), unindexed("grpc-message", 2*maxFields))
	h.o.End(nil)
	got := events()
	begin, end := got[0], got[1]
	names := ""
	for _, f := range begin.Metadata {
		names += f.Name + " "
	}
	if names != "content-type a c " {
		t.Errorf("metadata %s", names)
	}
	if len(begin.Method) != maxMethod || len(begin.Authority) != maxMethod || begin.Method != end.Method {
		t.Errorf("a method of %d bytes, an authority of %d", len(begin.Method), len(begin.Authority))
	}
	if len(end.HTTPStatus) != maxStatus || len(end.ContentType) != maxShort || len(end.Message) != maxFields {
		t.Errorf("an HTTP status of %d bytes, a content type of %d, a message of %d", len(end.HTTPStatus), len(end.ContentType), len(end.Message))
	}
}
