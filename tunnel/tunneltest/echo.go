package tunneltest

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// EchoServer serves gRPC on l until the test ends. It accepts all methods, echoes each
// message, a StringValue, and calls called before each response unless it is nil.
func EchoServer(t *testing.T, l net.Listener, called func(context.Context)) *grpc.Server {
	t.Helper()
	srv := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		for {
			msg := new(wrapperspb.StringValue)
			if err := stream.RecvMsg(msg); err != nil {
				if errors.Is(err, io.EOF) {
					return nil
				}
				return err
			}
			if called != nil {
				called(stream.Context())
			}
			if err := stream.SendMsg(msg); err != nil {
				return err
			}
		}
	}))
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(l) })
	t.Cleanup(func() {
		srv.Stop()
		wg.Wait()
	})
	return srv
}

// Caller returns a gRPC client of addr.
func Caller(t *testing.T, addr string) *grpc.ClientConn {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return cc
}

// Call makes a unary call to an EchoServer. It returns the call's error, or one if the
// reply isn't text.
func Call(ctx context.Context, cc *grpc.ClientConn, text string) error {
	reply := new(wrapperspb.StringValue)
	if err := cc.Invoke(ctx, "/test.Echo/Echo", wrapperspb.String(text), reply); err != nil {
		return err
	}
	if reply.GetValue() != text {
		return errors.New("reply is " + reply.GetValue())
	}
	return nil
}
