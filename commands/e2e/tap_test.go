//go:build unix

package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/hashicorp/yamux"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/tunnel/tunneltest"
)

// TestTapNode taps WebSockets between two programs of Node's ws, which offers compression.
func TestTapNode(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("testdata", "interop", "node")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "ws")); err != nil {
		t.Skipf("ws for Node is not installed: npm ci in %s installs it", dir)
	}
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("Node is not installed: ", err)
	}
	program := filepath.Join(dir, "ws.js")
	for _, test := range []struct{ flag, extensions, trace string }{
		{"--keep-extensions=false", "none", "text messages: not yamux"},
		{"--keep-extensions", "permessage-deflate", "compressed WebSocket messages: not decoded"},
	} {
		t.Run(test.flag, func(t *testing.T) {
			t.Parallel()
			server := startDaemon(t, node, program)
			tap := startDaemon(t, "wstun", "tap", test.flag, "--accept", "127.0.0.1:0", server.find(t, `^ws://\S+$`))
			client := startDaemon(t, node, program, tap.find(t, `^ws://\S+$`))
			if _, err := client.exitStatus(); err != nil {
				t.Fatal(err)
			}
			if got, want := client.String(), "extensions "+test.extensions+"\nclosed 4001 after 4\n"; got != want {
				t.Errorf("the client prints %q, want %q", got, want)
			}
			server.find(t, `^closed 4001 done$`)
			tap.find(t, ` s1 +other  .*`+test.trace)
			tap.find(t, `session down.*reason="close 4001: done, from the dialing side"`)
		})
	}
}

// TestTapPrograms taps sessions of programs that share no code with wstun, whichever dials.
func TestTapPrograms(t *testing.T) {
	t.Parallel()
	for _, dials := range []string{"client", "server"} {
		t.Run("the "+dials+" dials", func(t *testing.T) {
			t.Parallel()
			accepting := &recordingListener{conns: make(chan *recordedConn, 1), Listener: listenLoopback(t)}
			accepted := make(chan *websocket.Conn, 1)
			server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ws, err := new(websocket.Upgrader).Upgrade(w, r, nil)
				if err != nil {
					t.Error(err)
				}
				accepted <- ws
			})}
			defer server.Close()
			go func() { _ = server.Serve(accepting) }() // ends with the server
			tap := startDaemon(t, "wstun", "tap", "--accept", "127.0.0.1:0", "--trace-messages", "ws://"+accepting.Addr().String()+"/")
			var dialing *recordedConn
			dialer := websocket.Dialer{NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, addr)
				dialing = &recordedConn{Conn: conn}
				return dialing, err
			}}
			dialed, response, err := dialer.DialContext(t.Context(), tap.find(t, `^ws://\S+$`), nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			clientEnd, serverEnd := dialed, <-accepted
			if dials == "server" {
				clientEnd, serverEnd = serverEnd, clientEnd
			}
			callHub(t, clientEnd, serverEnd)
			other := <-accepting.conns
			for _, pair := range [][2]*recordedConn{{dialing, other}, {other, dialing}} {
				sent, received := afterHead(t, &pair[0].sent), afterHead(t, &pair[1].received)
				if len(sent) < 1<<20 || sha256.Sum256(sent) != sha256.Sum256(received) {
					t.Errorf("%d bytes were sent, %d received, or they differ", len(sent), len(received))
				}
			}
			tap.find(t, `→  Hub/DeleteKey  \{"1":"none"\}   no schema$`)
			tap.find(t, `OK  Hub/Echo `)
			tap.find(t, `ERR  Hub/DeleteKey .* NOT_FOUND `)
			tap.find(t, `session down`)
		})
	}
}

// callHub calls the demo Hub through yamux on a WebSocket, with large messages, and ends both.
func callHub(t *testing.T, clientEnd, serverEnd *websocket.Conn) {
	t.Helper()
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	client, err := yamux.Client(&tunneltest.MessageConn{Conn: clientEnd}, config)
	if err != nil {
		t.Fatal(err)
	}
	server, err := yamux.Server(&tunneltest.MessageConn{Conn: serverEnd}, config)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	demo.New().Register(s)
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(server) })
	cc, err := grpc.NewClient("passthrough:///hub", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return client.Open() }))
	if err != nil {
		t.Fatal(err)
	}
	hub := demo.NewHubClient(cc)
	echo, err := hub.Echo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		text := strings.Repeat("x", 1<<20)
		if err := echo.Send(&demo.EchoRequest{Text: text}); err != nil {
			t.Fatal(err)
		}
		if response, err := echo.Recv(); err != nil || response.GetText() != text {
			t.Errorf("Echo: %v", err)
		}
	}
	if err := echo.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := echo.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("Echo ends with %v", err)
	}
	if _, err := hub.DeleteKey(t.Context(), &demo.DeleteKeyRequest{Name: "none"}); err == nil {
		t.Error("DeleteKey succeeds")
	}
	_ = cc.Close()
	s.Stop()
	serving.Wait()
	_ = client.Close()
	<-client.CloseChan()
	_ = server.Close()
	<-server.CloseChan()
}

func listenLoopback(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// recordedConn records the bytes of both directions.
type recordedConn struct {
	net.Conn
	mu             sync.Mutex
	sent, received bytes.Buffer
}

func (c *recordedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.received.Write(p[:n])
	return n, err
}

func (c *recordedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent.Write(p[:n])
	return n, err
}

// afterHead returns the bytes after the handshake.
func afterHead(t *testing.T, b *bytes.Buffer) []byte {
	t.Helper()
	_, after, ok := bytes.Cut(b.Bytes(), []byte("\r\n\r\n"))
	if !ok {
		t.Error("no handshake")
	}
	return after
}

// recordingListener sends each connection that it accepts.
type recordingListener struct {
	net.Listener
	conns chan *recordedConn
}

func (l *recordingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	recorded := &recordedConn{Conn: conn}
	l.conns <- recorded
	return recorded, nil
}
