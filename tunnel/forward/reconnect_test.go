package forward

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// conns counts the connections of gRPC clients that a server has had calls on.
type conns struct {
	mu   sync.Mutex
	seen map[string]bool
}

// called is for tunneltest.EchoServer.
func (c *conns) called(ctx context.Context) {
	p, _ := peer.FromContext(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen = map[string]bool{}
	}
	c.seen[p.Addr.String()] = true
}

func (c *conns) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.seen)
}

// Clients under load move to other connections, no call fails, and open calls go on.
func TestReconnect(t *testing.T) {
	t.Parallel()
	for _, raw := range []bool{false, true} {
		var served conns
		var f *Forwarder
		var ccs []*grpc.ClientConn
		if raw {
			upstream := tunneltest.Listen(t)
			tunneltest.EchoServer(t, upstream, served.called)
			var cc *grpc.ClientConn
			cc, f = callUpstream(t, upstream)
			ccs = append(ccs, cc)
		} else {
			var addr string
			addr, f = forwardCalls(t, served.called)
			ccs = append(ccs, tunneltest.Caller(t, addr), tunneltest.Caller(t, addr))
		}
		ctx := tunneltest.Soon(t)
		watch, err := ccs[0].NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/test.Echo/Watch")
		if err != nil {
			t.Fatal(err)
		}
		stop, busy := make(chan struct{}), make(chan struct{}, 1000)
		var callers sync.WaitGroup
		for _, cc := range ccs {
			for range 8 {
				callers.Go(func() {
					for {
						if err := tunneltest.Call(ctx, cc, "hello"); err != nil {
							t.Error(err)
							return
						}
						select {
						case <-stop:
							return
						case busy <- struct{}{}:
						}
					}
				})
			}
		}
		const times = 20
		for n := 0; n < times; {
			before := served.count()
			f.Reconnect()
			for range 50 {
				tunneltest.Await(t, "a call", busy)
			}
			if served.count() > before {
				n++
			}
		}
		close(stop)
		callers.Wait()
		if n := served.count(); n <= times*len(ccs)/2 {
			t.Errorf("raw %t: the calls used %d connections", raw, n)
		}
		if err := watch.CloseSend(); err != nil {
			t.Error(err)
		}
		if err := watch.RecvMsg(nil); err != io.EOF { //nolint:errorlint // as grpc.ClientStream says
			t.Errorf("raw %t: the call that was open = %v, want io.EOF", raw, err)
		}
	}
}

// A connection that is being established is asked as well, and one with something else
// than HTTP/2 goes on.
func TestReconnectEarly(t *testing.T) {
	t.Parallel()
	upstream := tunneltest.Listen(t)
	tunneltest.EchoServer(t, upstream, nil)
	dialing, dial := make(chan struct{}, 2), make(chan struct{})
	f := &Forwarder{Dial: func(ctx context.Context) (net.Conn, error) {
		dialing <- struct{}{}
		<-dial
		return new(net.Dialer).DialContext(ctx, "tcp", upstream.Addr().String())
	}}
	cc := tunneltest.Caller(t, forward(t, f))
	result := make(chan error, 1)
	go func() { result <- tunneltest.Call(tunneltest.Soon(t), cc, "hello") }()
	tunneltest.Await(t, "the dial", dialing)
	f.Reconnect()
	close(dial)
	if err := tunneltest.Await(t, "the call", result); err != nil {
		t.Error(err)
	}
	for len(dialing) == 0 { // for the second connection
		if err := tunneltest.Call(tunneltest.Soon(t), cc, "hello"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReconnectOther(t *testing.T) {
	t.Parallel()
	addr, peer, f := forwardTo(t)
	local := tunneltest.DialTCP(t, addr)
	tunneltest.Write(t, local, "SSH-2.0-x\r\n")
	stream := acceptStream(t, peer)
	tunneltest.Expect(t, stream, "SSH-2.0-x\r\n")
	f.Reconnect()
	f.Reconnect()
	tunneltest.Write(t, stream, "SSH-2.0-y\r\n")
	tunneltest.Expect(t, local, "SSH-2.0-y\r\n")
	tunneltest.Write(t, local, "more")
	tunneltest.Expect(t, stream, "more")
}
