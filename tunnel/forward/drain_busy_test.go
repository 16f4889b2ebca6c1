package forward

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// Shutdown also drains a connection whose calls always overlap: its client begins no
// more calls there, and receives the response of each call that the server executed.
func TestForwarderShutdownOfABusyConnection(t *testing.T) {
	t.Parallel()
	for range 20 {
		var executed, answered atomic.Int64
		busy := make(chan struct{}, 1000)
		addr, f := forwardCalls(t, func(context.Context) {
			executed.Add(1)
			select {
			case busy <- struct{}{}:
			default:
			}
			<-time.After(2 * time.Millisecond)
		})
		cc := tunneltest.Caller(t, addr)
		var callers sync.WaitGroup
		for range 4 {
			callers.Go(func() {
				for tunneltest.Call(context.Background(), cc, "hello") == nil {
					answered.Add(1)
				}
			})
		}
		for range 20 {
			tunneltest.Await(t, "a call", busy)
		}
		if err := f.Shutdown(tunneltest.Soon(t)); err != nil {
			t.Errorf("Shutdown = %v", err)
		}
		callers.Wait()
		if e, a := executed.Load(), answered.Load(); e != a {
			t.Errorf("%d calls executed, %d answered", e, a)
		}
	}
}
