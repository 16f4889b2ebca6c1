package trace

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/tunnel/mux"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// service echoes requests. A call with FillUsername blocks.
type service struct {
	testpb.UnimplementedTestServiceServer
	entered chan struct{} // receives a token for each call that blocks
}

func (s service) UnaryCall(ctx context.Context, req *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	if req.FillUsername {
		s.entered <- struct{}{}
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	if req.ResponseStatus != nil {
		st, err := status.New(codes.Code(req.ResponseStatus.Code), req.ResponseStatus.Message).WithDetails(req.Payload)
		if err != nil {
			return nil, err
		}
		return nil, st.Err()
	}
	return &testpb.SimpleResponse{Payload: req.Payload}, nil
}

func (service) FullDuplexCall(stream grpc.BidiStreamingServer[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse]) error {
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: req.Payload}); err != nil {
			return err
		}
	}
}

// traced is a gRPC client and server at the ends of a session, each with a trace.
type traced struct {
	service
	client  testpb.TestServiceClient
	server  *grpc.Server
	session *wsmux.Session // of the client
	streams sync.WaitGroup // that are observed
	tracers [2]*Tracer
	events  [2]func() []Event
	close   func()
}

func newTraced(t *testing.T, clientRole wsmux.Role) *traced {
	t.Helper()
	dialed, accepted := tunneltest.WebSockets(t)
	return newTracedOn(t, clientRole, dialed, accepted)
}

// newTracedOn returns a traced whose client is at the dialing end of a WebSocket.
func newTracedOn(t *testing.T, clientRole wsmux.Role, dialed, accepted *websocket.Conn) *traced {
	t.Helper()
	tr := &traced{service: service{entered: make(chan struct{}, 1)}, server: grpc.NewServer()}
	testpb.RegisterTestServiceServer(tr.server, tr.service)
	roles := [2]wsmux.Role{clientRole, wsmux.Server}
	if clientRole == wsmux.Server {
		roles[Server] = wsmux.Client
	}
	var sessions [2]*wsmux.Session
	for _, side := range []Side{Client, Server} {
		tracer, events := newTracer(t, 0, Output{Body: -1})
		tr.tracers[side], tr.events[side] = tracer, events
		observe := tracer.Session(1)
		opts := &wsmux.Options{Observe: func(stream uint32, opened bool) *mux.StreamObserver {
			tr.streams.Add(1)
			o := observe(stream, opened)
			end := o.End
			o.End = func(err error) {
				end(err)
				tr.streams.Done()
			}
			return o
		}}
		ws, end := dialed, wsmux.Dialing
		if side == Server {
			ws, end = accepted, wsmux.Accepting
		}
		s, err := wsmux.NewSession(ws, end, roles[side], opts)
		if err != nil {
			t.Fatal(err)
		}
		sessions[side] = s
	}
	l := wsmux.NewListener()
	l.Add(sessions[Server])
	var serving sync.WaitGroup
	serving.Go(func() { _ = tr.server.Serve(l) })
	cc, err := sessions[Client].DialGRPC()
	if err != nil {
		t.Fatal(err)
	}
	tr.client, tr.session = testpb.NewTestServiceClient(cc), sessions[Client]
	tr.close = sync.OnceFunc(func() {
		_ = cc.Close()
		_ = sessions[Client].Close()
		<-sessions[Server].Done()
		tr.server.Stop()
		serving.Wait()
		tr.streams.Wait()
	})
	t.Cleanup(tr.close)
	return tr
}

// calls ends the session, and returns the events of each call at both ends.
func (tr *traced) calls(t *testing.T) [2][][]Event {
	t.Helper()
	tr.close()
	var calls [2][][]Event
	for side, events := range tr.events {
		for _, e := range events() {
			switch e.Type {
			case Lost, Other:
				t.Errorf("%s: %s", Side(side), e.String())
			case ClientHeader:
				calls[side] = append(calls[side], nil)
			}
			if e.Call == 0 {
				continue
			}
			list := &calls[side][e.Call-1]
			if *list = append(*list, e); int(e.Seq) != len(*list) {
				t.Errorf("%s: %s is event %d", Side(side), e.String(), len(*list))
			}
		}
		for _, list := range calls[side] {
			for i, e := range list {
				if e.IsEnd() != (i == len(list)-1) {
					t.Errorf("%s: the call doesn't end once: %q", Side(side), lines(list))
				}
			}
		}
	}
	if len(calls[Client]) != len(calls[Server]) {
		t.Fatalf("%d calls at the client, %d at the server", len(calls[Client]), len(calls[Server]))
	}
	return calls
}

// sentBy returns the events of a call that one side caused, without numbers.
func sentBy(side Side, events []Event) (all []string) {
	for _, e := range events {
		if e.Side == side {
			_, line, _ := strings.Cut(e.String(), " ")
			all = append(all, line)
		}
	}
	return all
}

func payload(text string) *testpb.Payload { return &testpb.Payload{Body: []byte(text)} }

// Both ends see the same calls, whichever end opens the stream.
func TestSession(t *testing.T) {
	t.Parallel()
	for _, role := range []wsmux.Role{wsmux.Client, wsmux.Server} {
		t.Run(role.String(), func(t *testing.T) {
			t.Parallel()
			tr := newTraced(t, role)
			ctx := metadata.AppendToOutgoingContext(tunneltest.Soon(t), "authorization", "Bearer x", "key-bin", "\x00\xff")
			if _, err := tr.client.UnaryCall(ctx, &testpb.SimpleRequest{Payload: payload("hello")}); err != nil {
				t.Fatal(err)
			}
			large := &testpb.SimpleRequest{Payload: payload(strings.Repeat("x", 1<<20))}
			if _, err := tr.client.UnaryCall(ctx, large); err != nil {
				t.Fatal(err)
			}
			failing := &testpb.SimpleRequest{Payload: payload("details"), ResponseStatus: &testpb.EchoStatus{Code: 5, Message: "nö 100 %"}}
			if _, err := tr.client.UnaryCall(ctx, failing); status.Code(err) != codes.NotFound {
				t.Fatal(err)
			}
			stream, err := tr.client.FullDuplexCall(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{"a", "", strings.Repeat("b", 100_000)} {
				if err := stream.Send(&testpb.StreamingOutputCallRequest{Payload: payload(text)}); err != nil {
					t.Fatal(err)
				}
				if _, err := stream.Recv(); err != nil {
					t.Fatal(err)
				}
			}
			if err := stream.CloseSend(); err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			calls := tr.calls(t)
			for i := range calls[Client] {
				for _, side := range []Side{Client, Server} {
					at, other := sentBy(side, calls[Client][i]), sentBy(side, calls[Server][i])
					if !slices.Equal(at, other) {
						t.Errorf("call %d by the %s:\nat the client %q\nat the server %q", i+1, side, at, other)
					}
				}
			}
			if len(calls[Client]) != 4 {
				t.Fatalf("%d calls, want 4", len(calls[Client]))
			}
			first, end := calls[Client][0][0], calls[Client][2]
			if first.Method != "/grpc.testing.TestService/UnaryCall" || first.Timeout <= 0 || first.Timeout > tunneltest.Patience || !strings.Contains(first.String(), " authorization=[redacted]") {
				t.Errorf("%s with timeout %v", first.String(), first.Timeout)
			}
			failed := end[len(end)-1]
			if failed.Code != codes.NotFound || failed.Message != "nö 100 %" || !strings.Contains(failed.String(), "grpc-status-details-bin=") {
				t.Errorf("the third call ends with %s", failed.String())
			}
			streamed := calls[Server][3][len(calls[Server][3])-1]
			if streamed.Sent.Messages != 3 || streamed.Received.Messages != 3 || streamed.Sent.Bytes < 100_000 || streamed.Timeout <= 0 {
				t.Errorf("the stream sent %+v and received %+v", streamed.Sent, streamed.Received)
			}
		})
	}
}

// Both ends see the end of a call that is cut short.
func TestSessionEnds(t *testing.T) {
	t.Parallel()
	isCut := func(e Event) bool { return e.Type == Cut && e.Message != "" }
	for name, test := range map[string]struct {
		timeout time.Duration
		end     func(tr *traced, cancel func())
		isEnd   func(e Event) bool
	}{
		"cancel": {0, func(_ *traced, cancel func()) { cancel() }, func(e Event) bool {
			return e.Type == Cancel && e.Side == Client && e.HTTP2Code == 8
		}},
		"deadline": {50 * time.Millisecond, func(*traced, func()) {}, func(e Event) bool {
			return e.Timeout > 0 && (e.Type == Cancel || e.Code == codes.DeadlineExceeded)
		}},
		"Stop":         {0, func(tr *traced, _ func()) { tr.server.Stop() }, isCut},
		"session lost": {0, func(tr *traced, _ func()) { tr.session.CloseWithError(errors.New("lost")) }, isCut},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := newTraced(t, wsmux.Client)
			ctx, cancel := context.WithCancel(tunneltest.Soon(t))
			defer cancel()
			ended := make(chan error, 1)
			for timeout, entered := test.timeout, false; !entered; timeout *= 2 {
				ctx := ctx
				if timeout > 0 {
					var cancel func()
					ctx, cancel = context.WithTimeout(ctx, timeout)
					defer cancel()
				}
				go func() {
					_, err := tr.client.UnaryCall(ctx, &testpb.SimpleRequest{FillUsername: true})
					ended <- err
				}()
				select {
				case <-tr.entered:
					entered = true
				case err := <-ended: // before it was sent
					if timeout == 0 || timeout > tunneltest.Patience {
						t.Fatal(err)
					}
				}
			}
			test.end(tr, cancel)
			if err := tunneltest.Await(t, "the end of the call", ended); err == nil {
				t.Error("the call succeeded")
			}
			another := 0
			if tr.session.Err() == nil && name != "Stop" { // the reset precedes another call
				another = 1
				if _, err := tr.client.UnaryCall(tunneltest.Soon(t), &testpb.SimpleRequest{}); err != nil {
					t.Fatal(err)
				}
			}
			for side, calls := range tr.calls(t) {
				call := calls[len(calls)-1-another]
				if !test.isEnd(call[len(call)-1]) {
					t.Errorf("%s: %q", Side(side), lines(call))
				}
			}
		})
	}
}
