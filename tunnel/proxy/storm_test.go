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

// TestStorm makes many calls at once that are cancelled, or time out, or end
// of themselves, at any point.
func TestStorm(t *testing.T) { //nolint:paralleltest // see TestMain
	cc := through(t, upstream(t, serveRaw(t, func(s grpc.ServerStream) error {
		if rand.IntN(4) == 0 {
			return status.Error(codes.Aborted, "of itself")
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

// exchangeMessages sends some messages and receives as many, to the end.
func exchangeMessages(ctx context.Context, cc *grpc.ClientConn) error {
	s, err := cc.NewStream(ctx, desc, method, grpc.ForceCodecV2(clientCodec))
	if err != nil {
		return err
	}
	for range 20 {
		if err := s.SendMsg(bytesFrame(make([]byte, rand.IntN(20_000)))); err != nil && !errors.Is(err, io.EOF) {
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
