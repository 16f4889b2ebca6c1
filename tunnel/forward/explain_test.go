package forward

import (
	"context"
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/tunneltest"
)

// A call that is open when the session is lost ends with the reason, before or after
// the headers or a message of its response.
func TestExplain(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		serve func(context.Context)               // runs at the server before the response
		await func(*testing.T, grpc.ClientStream) // waits for that part of the response
	}{
		"no response": {
			serve: func(ctx context.Context) { <-ctx.Done() },
			await: func(*testing.T, grpc.ClientStream) {},
		},
		"headers": {
			serve: func(ctx context.Context) {
				_ = grpc.SendHeader(ctx, metadata.Pairs("some", "header"))
				<-ctx.Done()
			},
			await: func(t *testing.T, call grpc.ClientStream) {
				t.Helper()
				if header, err := call.Header(); err != nil || len(header["some"]) != 1 {
					t.Fatal(header, err)
				}
			},
		},
		"message": {
			serve: func(context.Context) {},
			await: func(t *testing.T, call grpc.ClientStream) {
				t.Helper()
				if err := call.RecvMsg(new(wrapperspb.StringValue)); err != nil {
					t.Fatal(err)
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entered := make(chan struct{}, 1)
			f := &Forwarder{Sessions: newSessions(t), Secrets: &escape.Secrets{}}
			f.Secrets.Add("hub-token")
			addr := forward(t, f)
			peer := serveCalls(t, f.Sessions, func(ctx context.Context) {
				entered <- struct{}{}
				tt.serve(ctx)
			})
			call, err := tunneltest.Caller(t, addr).NewStream(tunneltest.Soon(t), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Echo/Echo")
			if err != nil {
				t.Fatal(err)
			}
			if err := call.SendMsg(wrapperspb.String("hello")); err != nil {
				t.Fatal(err)
			}
			tunneltest.Await(t, "the call", entered)
			tt.await(t, call)
			peer.CloseWithError(errors.New("100% broken,\n\x1b[2J hub%2Dtoken"))
			s := status.Convert(call.RecvMsg(new(wrapperspb.StringValue)))
			if s.Code() != codes.Unavailable || s.Message() != `wstun: session ended: websocket: close 1011 (internal server error): 100% broken,\n\x1b[2J ***` {
				t.Errorf("RecvMsg = %v, want Unavailable and the reason", s)
			}
		})
	}
}

// A call in the middle of a message fails with the GOAWAY's reason, not with a status:
// trailers after a part of a message would be a protocol error.
func TestExplainWithinAMessage(t *testing.T) {
	t.Parallel()
	f := &Forwarder{Sessions: newSessions(t)}
	addr := forward(t, f)
	peer := serveCalls(t, f.Sessions, nil)
	call, err := tunneltest.Caller(t, addr).NewStream(tunneltest.Soon(t), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Echo/Echo")
	if err != nil {
		t.Fatal(err)
	}
	const moreThanTheWindow = 1 << 20
	if err := call.SendMsg(wrapperspb.String(strings.Repeat("x", moreThanTheWindow))); err != nil {
		t.Fatal(err)
	}
	if _, err := call.Header(); err != nil {
		t.Fatal(err)
	}
	peer.CloseWithError(errors.New("broken"))
	s := status.Convert(call.RecvMsg(new(wrapperspb.StringValue)))
	if s.Code() != codes.Unavailable || !strings.Contains(s.Message(), "wstun: session ended: websocket: close 1011 (internal server error): broken") {
		t.Errorf("RecvMsg = %v, want Unavailable and the reason", s)
	}
}

// A call ends with the reason if its server is stopped.
func TestExplainServerStopped(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{}, 1)
	upstream := tunneltest.Listen(t)
	srv := tunneltest.EchoServer(t, upstream, func(ctx context.Context) {
		entered <- struct{}{}
		<-ctx.Done()
	})
	cc, _ := callUpstream(t, upstream)
	failed := make(chan error, 1)
	go func() { failed <- tunneltest.Call(tunneltest.Soon(t), cc, "hello") }()
	tunneltest.Await(t, "the call", entered)
	srv.Stop()
	s := status.Convert(tunneltest.Await(t, "the call's end", failed))
	// The server resets the connection if it has unread bytes.
	if s.Code() != codes.Unavailable || s.Message() != "wstun: the server closed the connection" && !strings.HasPrefix(s.Message(), "wstun: read tcp 127.0.0.1:") {
		t.Errorf("call = %v, want Unavailable and the reason", s)
	}
}
