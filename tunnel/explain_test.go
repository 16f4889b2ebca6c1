package tunnel

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
)

// A call that is open when the session is lost ends with the reason, however far its
// answer had come.
func TestExplain(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answer func(context.Context)               // holds up the answer for as long as it runs
		await  func(*testing.T, grpc.ClientStream) // waits for what comes of it
		own    bool                                // the status is wstun's
	}{
		"no answer": {
			answer: func(ctx context.Context) { <-ctx.Done() },
			await:  func(*testing.T, grpc.ClientStream) {},
			own:    true,
		},
		"headers": {
			answer: func(ctx context.Context) {
				_ = grpc.SendHeader(ctx, metadata.Pairs("some", "header"))
				<-ctx.Done()
			},
			await: func(t *testing.T, call grpc.ClientStream) {
				t.Helper()
				if header, err := call.Header(); err != nil || len(header["some"]) != 1 {
					t.Fatal(header, err)
				}
			},
			own: true,
		},
		"message": {
			answer: func(context.Context) {},
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
			f := &Forwarder{Sessions: newSessions(t)}
			addr := forward(t, f)
			peer := serveCalls(t, f.Sessions, func(ctx context.Context) {
				entered <- struct{}{}
				tt.answer(ctx)
			})
			call, err := caller(t, addr).NewStream(soon(t), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Echo/Echo")
			if err != nil {
				t.Fatal(err)
			}
			if err := call.SendMsg(wrapperspb.String("hello")); err != nil {
				t.Fatal(err)
			}
			await(t, "the call", entered)
			tt.await(t, call)
			peer.CloseWithError(errors.New("100% broken"))
			s := status.Convert(call.RecvMsg(new(wrapperspb.StringValue)))
			if s.Code() != codes.Unavailable || !strings.Contains(s.Message(), "wstun: session ended: websocket: close 1011 (internal server error): 100% broken") ||
				strings.HasPrefix(s.Message(), "wstun: ") != tt.own {
				t.Errorf("RecvMsg = %v, want Unavailable and the reason", s)
			}
		})
	}
}
