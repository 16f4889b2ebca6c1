package tap

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// accept accepts sessions with the given options, and returns their URL.
func accept(t *testing.T, sessions *tunnel.Sessions, opts tunnel.AcceptOptions) (url string) {
	t.Helper()
	l := tunneltest.Listen(t)
	a := tunnel.NewAcceptor(sessions, opts)
	served := make(chan error, 1)
	go func() { served <- a.Serve(l) }()
	t.Cleanup(func() {
		_ = a.Shutdown(tunneltest.Ended())
		_ = sessions.Shutdown(tunneltest.Ended())
		tunneltest.Await(t, "the acceptor's end", served)
	})
	return "ws://" + l.Addr().String() + "/v1"
}

// bridged is a bridge between a session that dialed and one that accepted.
type bridged struct {
	*Bridge
	dialed, accepted *wsmux.Session
}

// newBridged returns the bridge of a side that dials with this role. opts are those of the
// target.
func newBridged(t *testing.T, role wsmux.Role, opts tunnel.AcceptOptions) *bridged {
	t.Helper()
	targets := &tunnel.Sessions{}
	up := make(chan *tunnel.Session, 1)
	targets.Subscribe(tunnel.Subscriber{Up: func(s *tunnel.Session) { up <- s }})
	opts.Session.Role = opposite(role)
	b := &Bridge{URL: accept(t, targets, opts), Role: role, Servers: &tunnel.Sessions{}}
	url := accept(t, &tunnel.Sessions{}, tunnel.AcceptOptions{Upgrade: b.Upgrade})
	t.Cleanup(func() {
		_ = b.Servers.Shutdown(tunneltest.Ended())
		b.Wait()
	})
	dialed, err := tunnel.Dial(tunneltest.Soon(t), url, &tunnel.DialOptions{
		Header: http.Header{"AGENTBOX-SYNC-TOKEN": {"s3cret"}}, Subprotocols: []string{"v1", "v2"}, Session: tunnel.SessionOptions{Role: role},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dialed.Close() })
	return &bridged{b, dialed, tunneltest.Await(t, "the target's session", up).Session}
}

// serve serves calls on the streams that the peer of s opens.
func serve(t *testing.T, s *wsmux.Session) {
	t.Helper()
	l := wsmux.NewListener()
	l.Add(s)
	tunneltest.EchoServer(t, l, nil)
}

// call makes a call on a new stream of s.
func call(t *testing.T, s *wsmux.Session) {
	t.Helper()
	cc, err := s.DialGRPC()
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	if err := tunneltest.Call(tunneltest.Soon(t), cc, "hello"); err != nil {
		t.Error(err)
	}
}

// Both sides can call each other, and others the side with the gRPC server.
func TestBridge(t *testing.T) {
	t.Parallel()
	for _, role := range []wsmux.Role{wsmux.Client, wsmux.Server} {
		t.Run("the dialing side is the "+role.String(), func(t *testing.T) {
			t.Parallel()
			b := newBridged(t, role, tunnel.AcceptOptions{})
			server, client := b.accepted, b.dialed
			if role == wsmux.Server {
				server, client = client, server
			}
			serve(t, server)
			call(t, client)
			third, err := b.Servers.Wait(tunneltest.Soon(t))
			if err != nil {
				t.Fatal(err)
			}
			call(t, third.Session)
			serve(t, client)
			call(t, server)
		})
	}
}

// The handshake's credentials and subprotocols are passed on, and a refusal comes back.
func TestBridgeHandshake(t *testing.T) {
	t.Parallel()
	var got http.Header
	b := newBridged(t, wsmux.Client, tunnel.AcceptOptions{
		Token: "s3cret", TokenHeader: "Agentbox-Sync-Token", Subprotocols: []string{"v2"}, Path: "/v1",
		Upgrade: func(r *http.Request) (*tunnel.Upgrade, error) {
			got = r.Header.Clone()
			return nil, nil //nolint:nilnil // the zero Upgrade
		},
	})
	if got.Get("Sec-Websocket-Protocol") == "" || b.dialed == nil {
		t.Errorf("the target received %v", got)
	}
	url := accept(t, &tunnel.Sessions{}, tunnel.AcceptOptions{Upgrade: b.Upgrade})
	_, err := tunnel.Dial(tunneltest.Soon(t), url, &tunnel.DialOptions{Header: http.Header{"Agentbox-Sync-Token": {"another"}}})
	he, ok := errors.AsType[*tunnel.HandshakeError](err)
	if !ok || he.StatusCode != http.StatusUnauthorized || !strings.Contains(he.Body, "wrong token in the header") {
		t.Errorf("with a wrong token: %v, want 401 and the reason", err)
	}
}

// A target that can't be reached is answered with 502.
func TestBridgeUnreachable(t *testing.T) {
	t.Parallel()
	l := tunneltest.Listen(t)
	_ = l.Close()
	b := &Bridge{URL: "ws://" + l.Addr().String(), Servers: &tunnel.Sessions{}}
	url := accept(t, &tunnel.Sessions{}, tunnel.AcceptOptions{Upgrade: b.Upgrade})
	_, err := tunnel.Dial(tunneltest.Soon(t), url, nil)
	he, ok := errors.AsType[*tunnel.HandshakeError](err)
	if !ok || he.StatusCode != http.StatusBadGateway || !strings.Contains(he.Body, "connection refused") {
		t.Errorf("%v, want 502 and the reason", err)
	}
}

// When one session ends, the other one does, with a reason.
func TestBridgeEnd(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		end  func(*wsmux.Session)
		code int
	}{
		"in order":      {func(s *wsmux.Session) { _ = s.Close() }, websocket.CloseNormalClosure},
		"with an error": {func(s *wsmux.Session) { s.CloseWithError(errors.New("broken")) }, websocket.CloseInternalServerErr},
	} {
		for _, dialed := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				b := newBridged(t, wsmux.Client, tunnel.AcceptOptions{})
				ends, other := b.dialed, b.accepted
				if !dialed {
					ends, other = other, ends
				}
				tt.end(ends)
				select {
				case <-other.Done():
				case <-time.After(tunneltest.Patience):
					t.Fatal("the other session doesn't end")
				}
				ce, ok := errors.AsType[*websocket.CloseError](other.Err())
				if !ok || ce.Code != tt.code {
					t.Errorf("the other session ended with %v, want status code %d", other.Err(), tt.code)
				}
			})
		}
	}
}
