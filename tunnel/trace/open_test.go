package trace

import (
	"context"
	"maps"
	"testing"

	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/tunnel/rpc"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// The tracers of both ends list the same calls.
func TestCalls(t *testing.T) {
	t.Parallel()
	tr := newTraced(t, wsmux.Client)
	ctx, cancel := context.WithCancel(tunneltest.Soon(t))
	defer cancel()
	stream, err := tr.client.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := stream.Send(&testpb.StreamingOutputCallRequest{Payload: payload("x")}); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	failing := &testpb.SimpleRequest{ResponseStatus: &testpb.EchoStatus{Code: 5}, Payload: payload("x")}
	if _, err := tr.client.UnaryCall(ctx, failing); status.Code(err) != codes.NotFound {
		t.Fatal(err)
	}
	for _, tracer := range tr.tracers {
		calls := tracer.Calls()
		if len(calls) != 1 {
			t.Fatalf("%d calls are open, want 1", len(calls))
		}
		got := calls[0]
		want := rpc.Call{Method: testpb.TestService_FullDuplexCall_FullMethodName, Session: 1, Stream: 1, Begun: got.Begun, Last: got.Last, Sent: 2, Received: 2}
		if got != want || got.Begun.IsZero() || got.Last.Before(got.Begun.Truncate(0)) {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	tr.close()
	for _, tracer := range tr.tracers {
		if got, want := tracer.Ended().Load(), map[codes.Code]uint64{codes.NotFound: 1, rpc.NoStatus: 1}; len(tracer.Calls()) > 0 || !maps.Equal(got, want) {
			t.Errorf("%d calls are open, %v have ended, want %v", len(tracer.Calls()), got, want)
		}
	}
}

// The calls of a connection whose decoder panics don't stay.
func TestCallsAfterPanic(t *testing.T) {
	t.Parallel()
	tracer, _ := newTracer(t, 0, Output{})
	l, h := newLocal(t, tracer)
	if n := len(tracer.Calls()); n != 1 {
		t.Fatalf("%d calls are open, want 1", n)
	}
	clear(l.conn.calls) // as after a panic in finish
	l.conn.client.scanner = nil
	h.request(3)
	if calls := tracer.Calls(); len(calls) > 0 {
		t.Errorf("%+v are open", calls)
	}
}
