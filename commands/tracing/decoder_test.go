package tracing

import (
	"bytes"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/tunnel/trace"
)

// A Decoder masks secrets, and decodes as much of a message as it is asked to.
func TestDecoder(t *testing.T) {
	t.Parallel()
	d := NewDecoder(hubCatalog(t), []string{"create_*"}, nil)
	e := messageEvent(trace.ServerMessage, &demo.Key{Name: strings.Repeat("n", 100), Secret: "topsecret"})
	e.Method = "/wstun.demo.v1.Hub/CreateKey"
	m := d.Message(t.Context(), &e, 1000)
	key := &demo.Key{}
	if err := proto.Unmarshal(m.Data, key); err != nil || key.GetSecret() != "[redacted]" || !slices.Equal(m.Redacted, []string{"secret"}) {
		t.Errorf("data = %v, without %q; %v", key, m.Redacted, err)
	}
	if m.Cut || !m.Schema || !strings.Contains(m.JSON, `"secret":"[redacted]"`) || m.Size != e.Size {
		t.Errorf("message = %+v", m)
	}
	if m := d.Message(t.Context(), &e, 50); !m.Cut || m.Data != nil || m.JSON == "" || strings.Contains(m.JSON, "secret") || m.Size != e.Size {
		t.Errorf("the beginning = %+v", m)
	}
	e.Data = nil
	if m := d.Message(t.Context(), &e, 50); !m.Cut || m.Note != "not kept" || m.JSON != "" {
		t.Errorf("without its bytes = %+v", m)
	}
	e.Data, e.Encoding = []byte("x"), "br"
	if m := d.Message(t.Context(), &e, 50); !m.Cut || m.Note != "compressed with br" {
		t.Errorf("in an unknown compression = %+v", m)
	}
	if md := d.Method(t.Context(), e.Method); md == nil || md.Name() != "CreateKey" {
		t.Errorf("method = %v", md)
	}
	if md := d.Method(t.Context(), "/a.B/C"); md != nil {
		t.Errorf("method = %v", md)
	}
	if !d.Redacts("authorization") || !d.Redacts("create_x") || d.Redacts("x-id") {
		t.Error("Redacts is wrong")
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("no space") }

// Export writes a recording with its schema, and ends with the first error.
func TestExport(t *testing.T) {
	t.Parallel()
	d := NewDecoder(hubCatalog(t), nil, nil)
	n := 0
	events := func(yield func(*trace.Event, []string) bool) {
		n = 0
		request := messageEvent(trace.ClientMessage, &demo.CreateKeyRequest{Name: "a"})
		for i, e := range []trace.Event{{Type: trace.ClientHeader}, request, {Type: trace.ServerTrailer, Code: codes.OK}} {
			e.Call, e.Seq, e.Method, e.Time, e.IsGRPC = 1, uint32(i)+1, "/wstun.demo.v1.Hub/CreateKey", time.Now(), true
			if n++; !yield(&e, nil) {
				return
			}
		}
	}
	var b bytes.Buffer
	if err := d.Export(t.Context(), &b, "1.0.0", events); err != nil {
		t.Fatal(err)
	}
	rec, err := recording.Read(&b)
	if err != nil || len(rec.Calls) != 1 || rec.Calls[0].Problem() != "" || len(rec.Files.Set().GetFile()) == 0 {
		t.Errorf("recording = %+v, %v", rec, err)
	}
	if err := d.Export(t.Context(), brokenWriter{}, "1.0.0", events); err == nil || n != 1 {
		t.Errorf("a broken writer received %d events: %v", n, err)
	}
}

func TestFilterSelects(t *testing.T) {
	t.Parallel()
	values := func(vs ...any) iter.Seq[any] { return slices.Values(vs) }
	a, b := map[string]any{"name": "a"}, map[string]any{"name": "b"}
	for _, test := range []struct {
		filter string
		facts  Facts
		want   bool
	}{
		{"", Facts{}, true},
		{"Hub/*", Facts{Method: "/pkg.Hub/Watch"}, true},
		{"s2 Hub/*", Facts{Method: "/pkg.Hub/Watch", Session: 1}, false},
		{"status!=OK", Facts{Code: codes.NotFound}, false}, // it is open
		{"status!=OK", Facts{Ended: true, Code: codes.NotFound}, true},
		{">1s", Facts{Duration: time.Second + 1}, true},
		{"size>1KiB", Facts{Largest: 1025}, true},
		{"$.name=b", Facts{Messages: values(a, b)}, true},
		{"$.name=a $.name=b", Facts{Messages: values(a, b)}, true},
		{"$.name=c", Facts{Messages: values(a, b), Ended: true}, false},
		{"!$.name=c", Facts{Messages: values(a, b), Ended: true}, true},
		{"!$.name=c", Facts{Messages: values(a, b)}, false},
		{"$.name=b status=OK", Facts{Messages: values(a, b), Ended: true}, true},
		{"$.name=b status!=OK", Facts{Messages: values(a, b), Ended: true}, false},
	} {
		f, err := ParseFilter(test.filter)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // it has no state
			if got := f.Selects(&test.facts); got != test.want {
				t.Errorf("%q selects %+v: %v", test.filter, test.facts, got)
			}
		}
	}
	if _, err := ParseFilter("size>x"); err == nil {
		t.Error("no error")
	}
}
