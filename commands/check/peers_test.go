package check

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/tunnel/wsmux"
)

// listen listens on a loopback address and calls serve with each connection. It
// closes the connection when serve returns or the test ends.
func listen(t *testing.T, serve func(net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			served := make(chan struct{})
			wg.Go(func() {
				defer close(served)
				serve(conn)
			})
			wg.Go(func() {
				select {
				case <-served:
				case <-done:
				}
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		close(done)
		wg.Wait()
	})
	return l.Addr().String()
}

// tcp returns a function that starts a TCP server and returns its ws URL.
func tcp(serve func(net.Conn)) func(*testing.T) string {
	return func(t *testing.T) string {
		t.Helper()
		return "ws://" + listen(t, serve)
	}
}

// swallow reads until the connection ends.
func swallow(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

// page returns a function that starts an HTTP server, which answers every request
// with body, and returns its ws URL.
func page(code int, header http.Header, body string) func(*testing.T) string {
	return func(t *testing.T) string {
		t.Helper()
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			maps.Copy(w.Header(), header)
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}))
		t.Cleanup(srv.Close)
		return "ws" + strings.TrimPrefix(srv.URL, "http")
	}
}

// upgraded returns a function that starts a server, which calls serve with each
// WebSocket, and returns its URL. The WebSocket is closed when serve returns or the
// test ends.
func upgraded(serve func(*testing.T, *websocket.Conn)) func(*testing.T) string {
	return func(t *testing.T) string {
		t.Helper()
		return "ws://" + accept(t, nil, serve)
	}
}

// accept starts a server that calls serve with each WebSocket, and returns its
// address. It uses TLS unless config is nil.
func accept(t *testing.T, config *tls.Config, serve func(*testing.T, *websocket.Conn)) (addr string) {
	t.Helper()
	upgrader := websocket.Upgrader{ReadBufferSize: wsmux.BufferSize, WriteBufferSize: wsmux.BufferSize, Subprotocols: []string{"tunnel"}}
	var wg sync.WaitGroup
	done := make(chan struct{})
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wg.Add(1) // before the connection is hijacked, which srv.Close doesn't wait for
		defer wg.Done()
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return // Upgrade has answered
		}
		served := make(chan struct{})
		go func() {
			defer close(served)
			serve(t, ws)
		}()
		select {
		case <-served:
		case <-done:
		}
		_ = ws.Close()
		<-served
	}))
	srv.Config.ErrorLog = discard
	srv.TLS = config
	if config != nil {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(func() {
		srv.Close()
		close(done)
		wg.Wait()
	})
	return srv.Listener.Addr().String()
}

// serveGRPC serves gRPC on a WebSocket.
func serveGRPC(register func(*grpc.Server)) func(*testing.T, *websocket.Conn) {
	return func(t *testing.T, ws *websocket.Conn) {
		t.Helper()
		srv, session, err := wsmux.ServeGRPC(ws, register)
		if err != nil {
			t.Error(err)
			return
		}
		<-session.CloseChan()
		srv.Stop()
	}
}

// registerAll registers the health and reflection services.
func registerAll(srv *grpc.Server) {
	grpc_health_v1.RegisterHealthServer(srv, health.NewServer())
	reflection.Register(srv)
}

// serveSession calls serve with a session and then waits for the session's end.
func serveSession(role wsmux.Role, serve func(*testing.T, *wsmux.Session)) func(*testing.T) string {
	return upgraded(func(t *testing.T, ws *websocket.Conn) {
		t.Helper()
		session, err := wsmux.NewSession(ws, wsmux.Accepting, role, nil)
		if err != nil {
			t.Error(err)
			return
		}
		serve(t, session)
		<-session.Done()
	})
}

// answerPreface accepts a stream, reads the HTTP/2 preface and answers with text. If
// text is empty, it closes the stream.
func answerPreface(text string) func(*testing.T, *wsmux.Session) {
	return func(t *testing.T, session *wsmux.Session) {
		t.Helper()
		stream, err := session.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		preface := make([]byte, len(http2.ClientPreface))
		if _, err := io.ReadFull(stream, preface); err != nil || string(preface) != http2.ClientPreface {
			t.Errorf("a stream begins with %q, %v; want the HTTP/2 preface", preface, err)
		}
		if text == "" {
			_ = stream.Close()
			return
		}
		_, _ = io.WriteString(stream, text)
	}
}

// plainHTTP2 serves HTTP/2 and answers every request with 404.
func plainHTTP2(t *testing.T, session *wsmux.Session) {
	t.Helper()
	l := wsmux.NewListener()
	l.Add(session)
	srv := &http.Server{Handler: http.NotFoundHandler(), Protocols: new(http.Protocols), ErrorLog: discard}
	srv.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(func() { _ = srv.Close() })
	go func() { _ = srv.Serve(l) }()
}

// openStream opens a stream and sends text on it before it reads anything, and then
// acts as resetStreams.
func openStream(stream byte, text string) func(*testing.T, *websocket.Conn) {
	return func(t *testing.T, ws *websocket.Conn) {
		t.Helper()
		frames := []byte{
			0, typeWindowUpdate, 0, flagSYN, 0, 0, 0, stream, 0, 0, 0, 0,
			0, typeData, 0, 0, 0, 0, 0, stream, 0, 0, 0, byte(len(text)),
		}
		if err := ws.WriteMessage(websocket.BinaryMessage, append(frames, text...)); err != nil {
			t.Error(err)
		}
		resetStreams(t, ws)
	}
}

// Fields of the yamux frames that these peers send.
const (
	headerSize       = 12
	typeData         = 0
	typeWindowUpdate = 1
	typePing         = 2
	flagSYN          = 1
	flagACK          = 2
	flagRST          = 8
)

// resetStreams answers yamux Pings and resets every stream.
func resetStreams(_ *testing.T, ws *websocket.Conn) {
	conn := wsmux.WrapConn(ws)
	header := make([]byte, headerSize)
	for {
		if _, err := io.ReadFull(conn, header); err != nil {
			return
		}
		flag := uint16(flagRST)
		if header[1] == typePing {
			flag = flagACK
		}
		binary.BigEndian.PutUint16(header[2:], flag)
		_, _ = conn.Write(header)
	}
}

// httpProxy is an HTTP proxy that answers CONNECT with status. If that is 200, it
// connects to the target.
func httpProxy(t *testing.T, status string) (addr string) {
	t.Helper()
	return listen(t, func(conn net.Conn) {
		r := bufio.NewReader(conn)
		request, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 "+status+"\r\n\r\n")
		if !strings.HasPrefix(status, "200") {
			return
		}
		target, err := net.Dial("tcp", request.Host)
		if err != nil {
			t.Error(err)
			return
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			_, _ = io.Copy(target, r)
			_ = target.Close()
		})
		_, _ = io.Copy(conn, target)
		_ = conn.Close()
		_ = target.Close()
		wg.Wait()
	})
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{pool: x509.NewCertPool()}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "Test CA"}, NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert, a.key = sign(t, template, nil, nil)
	a.pool.AddCert(a.cert)
	return a
}

// certificate returns a certificate for worker.test and 127.0.0.1 that is valid for
// servers and clients.
func (a *authority) certificate(t *testing.T, until time.Time) tls.Certificate {
	t.Helper()
	cert, key := sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "worker.test"}, NotAfter: until,
		DNSNames: []string{"worker.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, a.key)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

func sign(t *testing.T, template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore = time.Now().AddDate(-1, 0, 0)
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// callServer opens a gRPC client connection, without waiting for a call.
func callServer(t *testing.T, session *wsmux.Session) {
	t.Helper()
	cc, err := session.DialGRPC()
	if err != nil {
		t.Error(err)
		return
	}
	defer cc.Close()
	cc.Connect()
	<-session.Done()
}

func reflectionOnly(srv *grpc.Server) { reflection.Register(srv) }

func reflectionV1Alpha(srv *grpc.Server) {
	grpc_reflection_v1alpha.RegisterServerReflectionServer(srv, reflection.NewServer(reflection.ServerOptions{Services: srv}))
}

// unauthenticated is a reflection service that rejects every caller.
type unauthenticated struct {
	grpc_reflection_v1.UnimplementedServerReflectionServer
}

func (unauthenticated) ServerReflectionInfo(grpc_reflection_v1.ServerReflection_ServerReflectionInfoServer) error {
	return status.Error(codes.Unauthenticated, "no token")
}

// serveStreams serves gRPC on the session's streams until the test ends.
func serveStreams(t *testing.T, session *wsmux.Session) {
	t.Helper()
	l := wsmux.NewListener()
	l.Add(session)
	srv := grpc.NewServer()
	registerAll(srv)
	t.Cleanup(srv.Stop)
	go func() { _ = srv.Serve(l) }()
}
