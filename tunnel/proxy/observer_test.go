package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// recorder writes down what it is told of one call, and panics at one thing.
type recorder struct {
	panicAt string
	events  []string
	ended   chan []string // gets events
}

func (r *recorder) add(kind, text string) {
	if kind == r.panicAt {
		r.ended <- nil
		panic(kind) //nolint:forbidigo // what the proxy must bear
	}
	r.events = append(r.events, kind+text)
}

func (r *recorder) Call(_ context.Context, info *CallInfo) CallObserver {
	if r.panicAt == "none" {
		return nil
	}
	r.add("call", fmt.Sprintf(" %s %t %t %q", info.Method, info.Peer != nil, info.Upstream != "", info.Header["key"]))
	return r
}

func (r *recorder) Header(md metadata.MD) { r.add("header", fmt.Sprintf(" %q", md["key"])) }

func (r *recorder) Message(d Direction, msg mem.BufferSlice) {
	r.add("message", fmt.Sprintf(" %v %q", d, msg.Materialize()))
}

func (r *recorder) HalfClose() { r.add("half-close", "") }

func (r *recorder) End(st *status.Status, trailer metadata.MD) {
	r.add("end", fmt.Sprintf(" %v %q", st.Code(), trailer["key"]))
	r.ended <- r.events
}

// observed makes a call of one message each way and returns what was observed.
func observed(t *testing.T, panicAt string) []string {
	t.Helper()
	r := &recorder{panicAt: panicAt, ended: make(chan []string, 1)}
	cc := through(t, &Options{Observer: r}, upstream(t, serveRaw(t, func(s grpc.ServerStream) error {
		s.SetTrailer(metadata.Pairs("key", "t"))
		if err := s.SendHeader(metadata.Pairs("key", "h")); err != nil {
			return err
		}
		if err := echo(s); err != nil {
			return err
		}
		return status.Error(codes.DataLoss, "")
	}), nil))
	s := open(metadata.AppendToOutgoingContext(t.Context(), "key", "r"), t, cc, method)
	if _, err := s.Header(); err != nil {
		t.Fatal(err)
	}
	send(t, s, "x")
	if got, err := receive(s); got != "x" || err != nil {
		t.Fatalf("received %q, %v", got, err)
	}
	_ = s.CloseSend()
	if _, err := receive(s); status.Code(err) != codes.DataLoss {
		t.Fatalf("the call ended with %v", err)
	}
	if panicAt == "none" {
		return nil
	}
	return wait(t, r.ended, "end of the observing")
}

func TestObserver(t *testing.T) {
	t.Parallel()
	want := []string{
		`call /any.Service/Method true true ["r"]`,
		`header ["h"]`,
		`message request "x"`,
		`message response "x"`,
		`half-close`,
		`end DataLoss ["t"]`,
	}
	if got := observed(t, ""); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestObserverPanics(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"none", "call", "header", "message", "half-close", "end"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			observed(t, at)
		})
	}
}

// TestObserverOfFailures observes calls that reach no upstream, or are
// given up.
func TestObserverOfFailures(t *testing.T) {
	t.Parallel()
	r := &recorder{ended: make(chan []string, 1)}
	cc := through(t, &Options{Observer: r})
	_, _ = invoke(t.Context(), cc, method, nil)
	if got, want := wait(t, r.ended, "end"), []string{`call /any.Service/Method true false []`, `end Unimplemented []`}; !slices.Equal(got, want) {
		t.Errorf("no upstream: got %q, want %q", got, want)
	}

	r = &recorder{ended: make(chan []string, 1)}
	cc = through(t, &Options{Observer: r}, upstream(t, serveRaw(t, echo), nil))
	ctx, cancel := context.WithCancel(t.Context())
	s := open(ctx, t, cc, method)
	send(t, s, "x")
	if _, err := receive(s); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := receive(s); err == nil || errors.Is(err, io.EOF) {
		t.Fatalf("a cancelled call ended with %v", err)
	}
	if got := wait(t, r.ended, "end"); got[len(got)-1] != "end Canceled []" {
		t.Errorf("cancelled: got %q", got)
	}
}
