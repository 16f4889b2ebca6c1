package backend

import (
	"errors"
	"testing"

	"go.uber.org/goleak"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sessionPair returns the two ends of a session. opts are those of the client; they may be nil.
func sessionPair(tb testing.TB, opts *wsmux.Options) (client, server *wsmux.Session) {
	tb.Helper()
	dialed, accepted := tunneltest.WebSockets(tb)
	client, cerr := wsmux.NewSession(dialed, wsmux.Dialing, wsmux.Client, opts)
	server, serr := wsmux.NewSession(accepted, wsmux.Accepting, wsmux.Server, nil)
	if err := errors.Join(cerr, serr); err != nil {
		tb.Fatal(err)
	}
	return client, server
}
