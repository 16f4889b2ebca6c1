package recording

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

// A file for Wireshark isn't a recording, and the error says what it is.
func TestReadPcapng(t *testing.T) {
	t.Parallel()
	_, err := Read(bytes.NewReader(convert(fullSample().b)))
	if !errors.Is(err, ErrNotRecording) || !strings.HasPrefix(err.Error(), "a pcapng file") {
		t.Errorf("%v", err)
	}
}

// Durations are neither negative nor longer than those of Go.
func TestDuration(t *testing.T) {
	t.Parallel()
	for ms, want := range map[Milliseconds]time.Duration{-1: 0, 0.5: 500 * time.Microsecond, 1e300: 1 << 62, Milliseconds(math.Inf(1)): 1 << 62} {
		if got := ms.duration(); got != want {
			t.Errorf("%v ms = %v, want %v", float64(ms), got, want)
		}
	}
}

// Any file is read without a panic, and the result is consistent.
func FuzzRead(f *testing.F) {
	f.Add(fullSample().b)
	for _, line := range []string{
		`{"event":"rpc","time":"9999-12-31T23:59:59Z","call":18446744073709551615,"seq":4294967295,"type":"server_trailer","status":{"code":4294967295,"data":"AA=="},"ms":1e300,"timeout_ms":-1e300}`,
		`{"event":"rpc","event":"schema","time":"2026-01-02T15:04:05Z","files":"CgA="}`,
		`{"event":"rpc","time":"2026-01-02T15:04:05Z","call":1,"type":"client_message","size":-1,"data":"","truncated":true}`,
		"{\"event\":\"rpc\",\"time\":\"0000-01-01T00:00:00Z\",\"call\":1,\"type\":\"cut\",\"reason\":\"\x1b[2J\",\"metadata\":{\"x\":[\"\",\"\"]},\"sensitive\":[\"x\"]}",
	} {
		f.Add([]byte(`{"event":"recording","version":1}` + "\n" + line + "\n" + line))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		rec, err := Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		for i, c := range rec.Calls {
			if i > 0 && c.Events[0].Time.Before(rec.Calls[i-1].Events[0].Time) {
				t.Errorf("call %d began before the one before it", c.Number)
			}
			if end := c.End(); end != nil && (end.Duration < 0 || end.Timeout < 0) {
				t.Errorf("call %d took %v of %v", c.Number, end.Duration, end.Timeout)
			}
			for _, e := range c.Events {
				if e.Call != c.Number || e.IsEnd() && e != c.End() {
					t.Errorf("call %d has the event %+v", c.Number, e.Event)
				}
			}
			_ = c.Problem() + c.Method()
		}
		lines := NewReader(bytes.NewReader(data))
		for {
			l, err := lines.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatal(err) // Read has had none
			}
			written := l.Append(nil)
			again := parse(written)
			if again == nil || bytes.Count(written, []byte("\n")) != 1 {
				t.Fatalf("written as %q", written)
			}
			if got := again.Append(nil); !bytes.Equal(got, written) {
				t.Errorf("written as %q, and then as %q", written, got)
			}
		}
	})
}
