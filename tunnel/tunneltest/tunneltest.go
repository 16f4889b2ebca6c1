// Package tunneltest has helpers for tests: pairs of WebSockets, relays that break
// connections, gRPC servers, and waiting for events. It uses loopback only.
//
//	dialed, accepted := tunneltest.WebSockets(t)
//
//	relay := tunneltest.NewRelay(t, server.Addr().String())
//	relay.Freeze() // connections stay up, but no bytes pass
//	relay.Cut()    // every connection ends with a TCP reset
package tunneltest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gorilla/websocket"
)

// BufferSize is the size of the WebSockets' buffers in bytes.
const BufferSize = 64*1024 + 64

// WebSockets returns the two ends of a WebSocket over loopback TCP: the
// dialing side and the accepting side. Both are closed when tb ends.
func WebSockets(tb testing.TB) (dialed, accepted *websocket.Conn) {
	tb.Helper()
	return connect(tb, (*httptest.Server).Start, func(addr string) string { return addr })
}

// TLSWebSockets is [WebSockets] over TLS.
func TLSWebSockets(tb testing.TB) (dialed, accepted *websocket.Conn) {
	tb.Helper()
	return connect(tb, (*httptest.Server).StartTLS, func(addr string) string { return addr })
}

// RelayedWebSockets is [WebSockets] through a relay. The sockets' buffers are small, so
// that writes soon block if the peer doesn't read.
func RelayedWebSockets(tb testing.TB) (dialed, accepted *websocket.Conn, relay *Relay) {
	tb.Helper()
	dialed, accepted = connect(tb, (*httptest.Server).Start, func(addr string) string {
		relay = NewRelay(tb, addr)
		return relay.Addr()
	})
	for _, ws := range []*websocket.Conn{dialed, accepted} {
		if c, ok := ws.NetConn().(*net.TCPConn); ok {
			_ = c.SetReadBuffer(relaySocketBuffer)
			_ = c.SetWriteBuffer(relaySocketBuffer)
		}
	}
	return dialed, accepted, relay
}

// connect starts a server that upgrades one request, and dials via(addr), where addr is
// the server's address.
func connect(tb testing.TB, start func(*httptest.Server), via func(addr string) string) (dialed, accepted *websocket.Conn) {
	tb.Helper()
	conns := make(chan *websocket.Conn, 1)
	upgrader := websocket.Upgrader{ReadBufferSize: BufferSize, WriteBufferSize: BufferSize}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			tb.Errorf("upgrade: %v", err)
		}
		conns <- conn
	}))
	start(srv)
	defer srv.Close() // doesn't close the upgraded connection
	scheme := "ws"
	dialer := websocket.Dialer{ReadBufferSize: BufferSize, WriteBufferSize: BufferSize}
	if srv.TLS != nil {
		scheme = "wss"
		roots := x509.NewCertPool()
		roots.AddCert(srv.Certificate())
		dialer.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}
	}
	addr := via(srv.Listener.Addr().String())
	dialer.NetDialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	dialed, resp, err := dialer.DialContext(tb.Context(), scheme+"://"+srv.Listener.Addr().String()+"/", nil)
	if err != nil {
		tb.Fatalf("dial: %v", err)
	}
	_ = resp.Body.Close()
	accepted = <-conns
	tb.Cleanup(func() {
		_ = dialed.Close()
		_ = accepted.Close()
	})
	return dialed, accepted
}
