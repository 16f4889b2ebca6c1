package trace

import (
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/tunnel/mux"
)

const clientHeader = "client_header /test.S/M content-type=application/grpc"

// newLocal returns a Local that has received a request, and the client that writes more.
func newLocal(t *testing.T, tracer *Tracer) (*Local, *hostile) {
	t.Helper()
	l := tracer.Local(time.Time{})
	h := connect(&mux.StreamObserver{Received: l.Received, Sent: func([]byte) {}}, 4096)
	h.request(1)
	_ = h.f[Client].WriteData(1, true, []byte("\x00\x00\x00\x00\x01a"))
	h.flush()
	return l, h
}

func TestLocalRefuse(t *testing.T) {
	t.Parallel()
	tracer, events := newTracer(t, 0, Output{})
	l, h := newLocal(t, tracer)
	l.Refuse("no session")
	h.request(3) // ignored
	l.Refuse("again")
	l.Close()
	got := events()
	check(t, got, "1.1 "+clientHeader, "1.2 client_message 1 0", "1.3 client_half_close", `1.4 server_trailer Unavailable "no session"`)
	if end := got[3]; end.Side != Wstun || end.Code != codes.Unavailable || end.Session != 0 {
		t.Errorf("end %+v", end)
	}
}

func TestLocalClose(t *testing.T) {
	t.Parallel()
	tracer, events := newTracer(t, 0, Output{})
	l, _ := newLocal(t, tracer)
	l.Received([]byte("\x00\x00\x00\x09\x04\x00\x00\x00\x01")) // malformed
	l.Close()
	l.Refuse("too late")
	check(t, events(), "1.1 "+clientHeader, "1.2 client_message 1 0", "1.3 client_half_close", `1.4 cut "the client closed the connection"`)
}

func TestLocalPanic(t *testing.T) {
	t.Parallel()
	tracer, events := newTracer(t, 0, Output{})
	l, h := newLocal(t, tracer)
	l.conn.client.scanner = nil
	h.request(3)
	l.Close()
	got := events()
	if len(got) != 5 || got[3].Type != Other || got[4].Type != Cut || got[4].Call != 1 {
		t.Errorf("events %q", lines(got))
	}
}

func TestLocalNil(t *testing.T) {
	t.Parallel()
	var tracer *Tracer
	tracer.GoAway("ignored")
	full, events := newTracer(t, 1, Output{})
	for _, l := range []*Local{tracer.Local(time.Time{}), full.Local(time.Time{})} {
		l.Received([]byte(http2.ClientPreface))
		l.Refuse("x")
		l.Close()
	}
	full.GoAway("the session is lost")
	got := events()
	check(t, got[:1], `0.0 goaway by wstun: NO_ERROR "the session is lost"`)
	if len(got) != 2 || got[1].Lost.Conns != 1 {
		t.Errorf("events %q", lines(got))
	}
}

// Its methods may be called from any goroutine.
func TestLocalConcurrent(t *testing.T) {
	t.Parallel()
	tracer, events := newTracer(t, 0, Output{})
	l, h := newLocal(t, tracer)
	var wg sync.WaitGroup
	wg.Go(func() { h.request(3) })
	wg.Go(func() { l.Refuse("no session") })
	wg.Go(l.Close)
	wg.Wait()
	begins, ends := 0, 0
	for _, e := range events() {
		if e.Type == ClientHeader {
			begins++
		}
		if e.IsEnd() {
			ends++
		}
	}
	if begins != ends || begins < 1 {
		t.Errorf("%d calls begin, %d end", begins, ends)
	}
}
