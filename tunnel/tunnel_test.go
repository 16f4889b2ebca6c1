package tunnel

import (
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, tunneltest.LingeringHTTP()) }

// serveTCP calls handle for each connection to the address that it returns. It closes
// the connections when the test ends.
func serveTCP(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	l := tunneltest.Listen(t)
	var mu sync.Mutex
	var conns []net.Conn
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			wg.Go(func() { handle(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, conn := range conns {
			_ = conn.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
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
func newSessions(t *testing.T) *Sessions {
	t.Helper()
	ss := &Sessions{}
	t.Cleanup(func() { _ = ss.Shutdown(tunneltest.Ended()) })
	return ss
}

// endpoint is a WebSocket endpoint that accepts sessions.
type endpoint struct {
	url      string
	sessions *Sessions
	acceptor *Acceptor
	server   *httptest.Server
}

func newEndpoint(t *testing.T, opts AcceptOptions, start func(*httptest.Server)) *endpoint {
	t.Helper()
	e := &endpoint{sessions: newSessions(t)}
	e.acceptor = NewAcceptor(e.sessions, opts)
	e.server = httptest.NewUnstartedServer(e.acceptor)
	e.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	start(e.server)
	t.Cleanup(e.server.Close)
	e.url = "ws" + strings.TrimPrefix(e.server.URL, "http")
	return e
}

func TestOrDefault(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ d, want time.Duration }{
		{0, time.Minute},
		{-1, 0},
		{time.Second, time.Second},
	} {
		if got := orDefault(test.d, time.Minute); got != test.want {
			t.Errorf("orDefault(%v, 1m) = %v, want %v", test.d, got, test.want)
		}
	}
}

// handler returns a handler with a fixed response.
func handler(code int, header http.Header, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		maps.Copy(w.Header(), header)
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}
