package forward

import (
	"crypto/tls"
	"testing"
	"time"

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

// securePair is sessionPair with TLS in the streams that client opens to the server w-1. The
// server's certificate is for name.
func securePair(tb testing.TB, name string) (client, server *wsmux.Session) {
	tb.Helper()
	workers := tunneltest.NewAuthority(tb, "workers")
	clientTLS := &tls.Config{RootCAs: workers.Pool(), ServerName: "w-1", MinVersion: tls.VersionTLS13, DynamicRecordSizingDisabled: true}
	serverTLS := &tls.Config{Certificates: []tls.Certificate{workers.Issue(name, time.Hour)}, MinVersion: tls.VersionTLS13, DynamicRecordSizingDisabled: true}
	dialed, accepted := tunneltest.WebSockets(tb)
	client, err := wsmux.NewSession(dialed, wsmux.Dialing, wsmux.Client, &wsmux.Options{TLS: &wsmux.TLS{Client: func() *tls.Config { return clientTLS }}})
	if err != nil {
		tb.Fatal(err)
	}
	server, err = wsmux.NewSession(accepted, wsmux.Accepting, wsmux.Server, &wsmux.Options{TLS: &wsmux.TLS{Server: func() *tls.Config { return serverTLS }}})
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
