package store

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/tunnel/trace"
)

// tape returns a recording of calls with a request each, of two processes. The last call of
// each is open.
func tape(calls int) []byte {
	var b []byte
	now := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	for range 2 {
		b = recording.NewHeader("1.0.0", now).Append(b)
		b = recording.NewSchema([]byte("files"), now).Append(b)
		for n := range calls {
			line := func(e trace.Event, change func(*recording.Line)) {
				now = now.Add(time.Millisecond)
				e.Call, e.Time, e.Method, e.Session = uint64(n)+1, now, "/a.B/C", 1
				l := recording.FromEvent(&e)
				change(l)
				b = l.Append(b)
			}
			line(trace.Event{Type: trace.ClientHeader, Seq: 1}, func(l *recording.Line) {
				l.Metadata = map[string][]string{"authorization": {"secret-1"}, "x-a": {"1"}, "x-kept": {"secret-2"}}
				l.Sensitive = []string{"x-kept"}
			})
			line(trace.Event{Type: trace.ClientMessage, Size: 9, Seq: 2}, func(l *recording.Line) {
				l.Data, l.Redacted = []byte("data"), []string{"secret"}
			})
			if n < calls-1 {
				line(trace.Event{Type: trace.ServerTrailer, Code: codes.OK, Seq: 3}, func(*recording.Line) {})
			}
		}
	}
	return b
}

func TestLoad(t *testing.T) {
	t.Parallel()
	s := newSource(t, Options{})
	schemas := 0
	if err := s.Load(bytes.NewReader(tape(3)), Record, func(files []byte) { schemas += len(files) }, trace.IsSecret); err != nil {
		t.Fatal(err)
	}
	s.check()
	calls := s.Calls()
	if len(calls) != 6 || schemas != 10 {
		t.Fatalf("%d calls, %d bytes of schemas", len(calls), schemas)
	}
	for i, c := range calls {
		if c.Ended != (i%3 < 2) || c.Origin != Record || c.Sent.Messages != 1 {
			t.Errorf("call %d = %+v", i, c)
		}
		d := s.Call(c.ID)
		values := []string{}
		for _, f := range d.Request {
			values = append(values, f.Name+"="+f.Value)
		}
		if want := []string{"authorization=[redacted]", "x-a=1", "x-kept=[redacted]"}; !slices.Equal(values, want) {
			t.Errorf("metadata = %q", values)
		}
		m, _ := s.Messages(c.ID, 0, 9)
		if len(m) != 1 || string(m[0].Data) != "data" || !slices.Equal(m[0].Redacted, []string{"secret"}) || !m[0].Whole {
			t.Errorf("messages = %+v", m)
		}
	}
}

// A recording that is too large leaves its end in the store, also calls that were open.
func TestLoadLimits(t *testing.T) {
	t.Parallel()
	s := newSource(t, Options{Calls: 10})
	data := append(tape(8), tape(8)...)
	if err := s.Load(bytes.NewReader(data), Record, func([]byte) {}, trace.IsSecret); err != nil {
		t.Fatal(err)
	}
	s.check()
	calls := s.Calls()
	if u := s.Usage(); len(calls) != 10 || u.Dropped.Calls != 22 || calls[9].ID != 32 {
		t.Errorf("%d calls, usage %+v", len(calls), u)
	}
}

func TestLoadOther(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "hello\n", `{"event":"rpc","type":"client_header","call":1}` + "\n"} {
		s := New(Options{})
		if err := s.Load(strings.NewReader(text), Record, func([]byte) {}, trace.IsSecret); !errors.Is(err, recording.ErrNotRecording) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// Whatever is in a file, the counts of the store are right.
func FuzzLoad(f *testing.F) {
	f.Add(tape(3))
	f.Add([]byte(`{"event":"recording","version":1}` + "\n" + `{"event":"rpc","time":"2026-01-02T15:04:05Z","type":"server_message","call":1,"size":-5,"data":"AAAA","redacted":["a"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := newSource(t, Options{Memory: 8 << 10, Calls: 3})
		_ = s.Load(bytes.NewReader(data), Record, func([]byte) {}, trace.IsSecret)
		s.check()
		for _, c := range s.Calls() {
			_ = s.Events(c.ID)
		}
	})
}
