package trace

import (
	"context"
	"fmt"
	"hash/crc32"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// recorder is a Sink that keeps all events.
type recorder struct {
	mu     sync.Mutex
	events []Event
}

func (r *recorder) Event(e *Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	copied := *e
	copied.Metadata = append([]hpack.HeaderField(nil), e.Metadata...)
	copied.Data = append([]byte(nil), e.Data...)
	r.events = append(r.events, copied)
}

func (r *recorder) Flush(time.Time) time.Time { return time.Time{} }
func (r *recorder) Close()                    {}

// newTracer returns a Tracer, and a function that closes it and returns its events.
func newTracer(tb testing.TB, memory int64, o Output) (*Tracer, func() []Event) {
	tb.Helper()
	r := &recorder{}
	o.Sink = r
	tracer := New(memory, o)
	events := sync.OnceValue(func() []Event {
		if err := tracer.Close(soon()); err != nil {
			tb.Error(err)
		}
		if used := tracer.used.Load(); used != 0 {
			tb.Errorf("%d bytes of memory are still charged", used)
		}
		return r.events
	})
	tb.Cleanup(func() { events() })
	return tracer, events
}

// soon returns a context for Close, which must also work when the test's has ended.
func soon() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), tunneltest.Patience)
	context.AfterFunc(ctx, cancel)
	return ctx
}

// String returns e in short, for comparison.
func (e *Event) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d.%d %s", e.Call, e.Seq, e.Type)
	if e.Type == ClientHeader {
		fmt.Fprintf(&b, " %s", e.Method)
	}
	for _, f := range e.Metadata {
		fmt.Fprintf(&b, " %s=%s", f.Name, f.Value)
	}
	if e.Type == ClientMessage || e.Type == ServerMessage {
		fmt.Fprintf(&b, " %d %x", e.Size, crc32.ChecksumIEEE(e.Data))
	}
	if e.Type == Cancel || e.Type == GoAway {
		fmt.Fprintf(&b, " by %s: %v", e.Side, e.HTTP2Code)
	}
	if e.Code != NoStatus {
		fmt.Fprintf(&b, " %v", e.Code)
	}
	if e.HTTPStatus != "" {
		fmt.Fprintf(&b, " HTTP %s %s", e.HTTPStatus, e.ContentType)
	}
	if e.Message != "" {
		fmt.Fprintf(&b, " %q", e.Message)
	}
	return b.String()
}
