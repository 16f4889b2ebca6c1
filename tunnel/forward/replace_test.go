package forward

import (
	"context"
	"net/http/httptest"
	"testing"

	"google.golang.org/grpc/connectivity"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// When a session is replaced, calls in flight finish on it, and the client makes the
// next call on the new session.
func TestForwarderMovesToTheNextSession(t *testing.T) {
	t.Parallel()
	called, finish := make(chan struct{}), make(chan struct{})
	streams := wsmux.NewListener()
	tunneltest.EchoServer(t, streams, func(context.Context) {
		called <- struct{}{}
		<-finish
	})
	peers := newSessions(t)
	peers.Subscribe(tunnel.Subscriber{Up: func(s *tunnel.Session) { streams.Add(s.Session) }})
	srv := httptest.NewServer(tunnel.NewAcceptor(peers, tunnel.AcceptOptions{Session: tunnel.SessionOptions{Role: wsmux.Server}}))
	t.Cleanup(srv.Close)
	f := &Forwarder{Sessions: newSessions(t)}
	addr := forward(t, f)
	up, down := make(chan *tunnel.Session, 2), make(chan *tunnel.Session, 2)
	f.Sessions.Subscribe(tunnel.Subscriber{
		Up:   func(s *tunnel.Session) { up <- s },
		Down: func(s *tunnel.Session, _ error) { down <- s },
	})
	reconnect := make(chan struct{})
	connector := &tunnel.Connector{URL: srv.URL, Sessions: f.Sessions, RetryNow: reconnect}
	connecting, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- connector.Run(connecting) }()
	tunneltest.Await(t, "the first session", up)

	cc := tunneltest.Caller(t, addr)
	result := make(chan error, 1)
	go func() { result <- tunneltest.Call(tunneltest.Soon(t), cc, "old") }()
	tunneltest.Await(t, "the call", called)
	reconnect <- struct{}{}
	tunneltest.Await(t, "the second session", up)
	if !cc.WaitForStateChange(tunneltest.Soon(t), connectivity.Ready) {
		t.Fatal("the client's connection is still ready")
	}
	next := make(chan error, 1)
	go func() { next <- tunneltest.Call(tunneltest.Soon(t), cc, "new") }()
	tunneltest.Await(t, "the next call", called)
	select {
	case err := <-result:
		t.Errorf("the old call ended: %v", err)
	default:
	}
	close(finish)
	if err := tunneltest.Await(t, "the next call", next); err != nil {
		t.Errorf("the next call = %v, want it on the new session", err)
	}
	if err := tunneltest.Await(t, "the old call", result); err != nil {
		t.Errorf("the old call = %v, want it to finish", err)
	}
	if s := tunneltest.Await(t, "the old session's end", down); s.ID != 1 {
		t.Errorf("session %d ended, want the first", s.ID)
	}
	stop()
	if err := tunneltest.Await(t, "Run", stopped); err != nil {
		t.Errorf("Run = %v", err)
	}
}
