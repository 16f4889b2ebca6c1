package target

import (
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// Calls work as soon as connect has returned, even if another subscriber still holds up
// the new session.
func TestConnectWaitsForSession(t *testing.T) {
	t.Parallel()
	streams := wsmux.NewListener()
	server := grpc.NewServer()
	go server.Serve(streams)
	t.Cleanup(server.Stop)
	var peers tunnel.Sessions
	peers.Subscribe(tunnel.Subscriber{Up: func(s *tunnel.Session) { streams.Add(s.Session) }})
	web := httptest.NewServer(tunnel.NewAcceptor(&peers, tunnel.AcceptOptions{Session: tunnel.SessionOptions{Role: wsmux.Server}}))
	t.Cleanup(web.Close)

	ctx := tunneltest.Soon(t)
	o := &Options{Addr: web.URL, Logger: slog.New(slog.DiscardHandler), Say: t.Logf}
	o.Endpoint.Window = "auto"
	c := &client{}
	s, err := newSessions(ctx, o, c)
	if err != nil {
		t.Fatal(err)
	}
	c.transport = s
	defer s.close()
	s.set.Subscribe(tunnel.Subscriber{Up: func(session *tunnel.Session) {
		s.mu.Lock()
		cc := s.conns[session]
		s.mu.Unlock()
		if err := awaitReady(ctx, cc, 0, func() error { return errNotGRPC }); err != nil {
			t.Error(err)
		}
		<-time.After(50 * time.Millisecond) // connect knows by now that the server answers
	}})
	if err := s.connect(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := c.now(ctx); err != nil {
		t.Error(err)
	}
}
