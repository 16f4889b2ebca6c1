package forward

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, tunneltest.LingeringHTTP()) }

// relayedSessions returns both ends of a session through a relay. They end with t.
func relayedSessions(t *testing.T) (client, server *wsmux.Session, relay *tunneltest.Relay) {
	t.Helper()
	dialed, accepted, relay := tunneltest.RelayedWebSockets(t)
	var err error
	if client, err = wsmux.NewSession(dialed, wsmux.Dialing, wsmux.Client, nil); err != nil {
		t.Fatal(err)
	}
	if server, err = wsmux.NewSession(accepted, wsmux.Accepting, wsmux.Server, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
	})
	return client, server, relay
}

// sessionPair returns both ends of a session. They end with tb.
func sessionPair(tb testing.TB) (client, server *wsmux.Session) {
	tb.Helper()
	dialed, accepted := tunneltest.WebSockets(tb)
	client, err := wsmux.NewSession(dialed, wsmux.Dialing, wsmux.Client, nil)
	if err != nil {
		tb.Fatal(err)
	}
	server, err = wsmux.NewSession(accepted, wsmux.Accepting, wsmux.Server, nil)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
	})
	return client, server
}

// newSessions returns a set that is shut down when the test ends.
func newSessions(t *testing.T) *tunnel.Sessions {
	t.Helper()
	ss := &tunnel.Sessions{}
	t.Cleanup(func() { _ = ss.Shutdown(tunneltest.Ended()) })
	return ss
}
