package proxy

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestStorm makes many concurrent calls that are cancelled, time out or end at random
// times.
func TestStorm(t *testing.T) { //nolint:paralleltest // see TestMain
	cc := proxyTo(t, upstream(t, serveRaw(t, func(s grpc.ServerStream) error {
		if rand.IntN(4) == 0 {
			return status.Error(codes.Aborted, "random")
		}
		return echo(s)
	}), nil))
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			switch rand.IntN(3) {
			case 0:
				var done context.CancelFunc
				ctx, done = context.WithTimeout(ctx, rand.N(30*time.Millisecond))
				defer done()
			case 1:
				time.AfterFunc(rand.N(30*time.Millisecond), cancel)
			}
			switch err := exchangeMessages(ctx, cc); status.Code(err) {
			case codes.OK, codes.Canceled, codes.DeadlineExceeded, codes.Aborted:
			default:
				t.Errorf("a call ended with %v", err)
			}
		})
	}
	wg.Wait()
}

// exchangeMessages makes a call that sends and receives 20 messages.
func exchangeMessages(ctx context.Context, cc *grpc.ClientConn) error {
	s, err := cc.NewStream(ctx, streamDesc, method, grpc.ForceCodecV2(clientCodec))
	if err != nil {
		return err
	}
	for range 20 {
		if err := s.SendMsg(newRawMessage(make([]byte, rand.IntN(20_000)))); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if _, err := receive(s); err != nil {
			return err
		}
	}
	_ = s.CloseSend()
	if _, err := receive(s); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
