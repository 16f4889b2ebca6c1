package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"

	"github.com/wstun/wstun/tunnel/netdiag"
)

// keptPlain is a link to a plain server through one gRPC connection, which gRPC
// dials again after a loss.
type keptPlain struct {
	*link
	d  *plain
	cc *grpc.ClientConn
}

func newKeptPlain(t *target, d *plain, opts []grpc.DialOption) func(context.Context) (grpc.ClientConnInterface, error) {
	k := &keptPlain{link: t.link, d: d}
	k.current = k.conn
	const ever = 24 * time.Hour
	params := grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: d.timeout}
	params.Backoff.BaseDelay = min(200*time.Millisecond, k.maxRetryInterval)
	params.Backoff.MaxDelay = k.maxRetryInterval
	if d.timeout == 0 {
		params.MinConnectTimeout = ever
	}
	return func(ctx context.Context) (grpc.ClientConnInterface, error) { //nolint:contextcheck // what it starts goes on
		var err error
		if k.cc, err = d.connect(ctx, append(opts, grpc.WithConnectParams(params))); err != nil {
			return nil, err
		}
		watching, stop := context.WithCancel(k.life)
		var wg sync.WaitGroup
		wg.Go(func() { k.watch(watching) })
		t.cleanups = append(t.cleanups, func() {
			stop()
			wg.Wait()
			_ = k.cc.Close()
		})
		return k.link, nil
	}
}

// watch dials the connection again when it's lost, and reports both.
func (k *keptPlain) watch(ctx context.Context) {
	up := true
	for state := connectivity.Ready; ; {
		if state == connectivity.Idle {
			k.cc.Connect()
		}
		switch is := state == connectivity.Ready; {
		case up && !is:
			k.say("connection down: %v", k.d.loss())
		case !up && is:
			k.isUp("connection")
		}
		up = state == connectivity.Ready
		if !k.cc.WaitForStateChange(ctx, state) {
			return
		}
		state = k.cc.GetState()
	}
}

// conn is link.current.
func (k *keptPlain) conn(ctx context.Context) (*grpc.ClientConn, error) {
	for state := k.cc.GetState(); state != connectivity.Ready; state = k.cc.GetState() {
		if !k.cc.WaitForStateChange(ctx, state) {
			return nil, fmt.Errorf("no connection: %w", k.d.failure())
		}
	}
	return k.cc, nil
}

// loss returns why the connection was lost.
func (d *plain) loss() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lost == nil || errors.Is(d.lost, io.EOF) {
		return errors.New("the server has closed it")
	}
	return netdiag.Cause(d.lost)
}
