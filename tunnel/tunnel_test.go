package tunnel

import (
	"context"
	"errors"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, tunneltest.LingeringHTTP()) }

// patience is what a test waits for something that must happen. It's long because
// it only ever passes when a test fails.
const patience = time.Minute

// await waits for event, and fails the test if it doesn't come.
func await[T any](t *testing.T, what string, event <-chan T) T {
	t.Helper()
	select {
	case v := <-event:
		return v
	case <-time.After(patience):
		t.Fatalf("%s: nothing for %v", what, patience)
		panic("unreachable") //nolint:forbidigo // Fatalf doesn't return
	}
}

// soon returns a context that ends when a test has waited long enough.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// ended returns a context that has ended.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// serveTCP has handle talk to each connection, which is closed at the test's
// end at the latest, and returns the address.
func serveTCP(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	l := listen(t)
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

// relayedSessions returns both ends of a session through a relay.
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

func dialTCP(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

// sessionPair returns both ends of a session, which end with the test.
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
	t.Cleanup(func() { _ = ss.Shutdown(ended()) })
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

// caller is a gRPC client of addr.
func caller(t *testing.T, addr string) *grpc.ClientConn {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return cc
}

// call makes one unary call, which answers with what it was asked.
func call(ctx context.Context, cc *grpc.ClientConn, text string) error {
	reply := new(wrapperspb.StringValue)
	if err := cc.Invoke(ctx, "/test.Echo/Echo", wrapperspb.String(text), reply); err != nil {
		return err
	}
	if reply.GetValue() != text {
		return errors.New("reply is " + reply.GetValue())
	}
	return nil
}

// echoServer is a gRPC server that sends back what it gets, whatever the
// method; before that, it runs called, which may be nil.
func echoServer(t *testing.T, l net.Listener, called func(context.Context)) *grpc.Server {
	t.Helper()
	srv := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		for {
			msg := new(wrapperspb.StringValue)
			if err := stream.RecvMsg(msg); err != nil {
				if errors.Is(err, io.EOF) {
					return nil
				}
				return err
			}
			if called != nil {
				called(stream.Context())
			}
			if err := stream.SendMsg(msg); err != nil {
				return err
			}
		}
	}))
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(l) })
	t.Cleanup(func() {
		srv.Stop()
		wg.Wait()
	})
	return srv
}

// openFiles counts the process's file descriptors.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc/self/fd here")
	}
	return len(entries)
}

// checkFiles fails the test if it leaves file descriptors behind. The test must
// not be parallel to others.
func checkFiles(t *testing.T) {
	t.Helper()
	before := openFiles(t)
	t.Cleanup(func() {
		deadline := time.Now().Add(patience)
		for openFiles(t) > before {
			if time.Now().After(deadline) {
				t.Errorf("%d file descriptors left open", openFiles(t)-before)
				return
			}
			<-time.After(10 * time.Millisecond)
		}
	})
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

// handler answers every request alike.
func handler(code int, header http.Header, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		maps.Copy(w.Header(), header)
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}
