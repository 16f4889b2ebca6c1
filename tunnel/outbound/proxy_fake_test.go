package outbound

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"
)

// startProxyPeer calls serve for each connection to the loopback address that it
// returns. It closes a connection when serve returns or the test ends.
func startProxyPeer(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
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
		_ = ln.Close()
		close(done)
		wg.Wait()
	})
	return ln.Addr().String()
}

// startProxyTarget starts an echo server.
func startProxyTarget(t *testing.T) string {
	t.Helper()
	return startProxyPeer(t, func(conn net.Conn) { _, _ = io.Copy(conn, conn) })
}

// proxySplice copies r to target, and from target to conn, until either ends.
func proxySplice(conn net.Conn, r io.Reader, target string) {
	far, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(far, r)
		_ = far.Close()
	})
	_, _ = io.Copy(conn, far)
	_ = conn.Close()
	_ = far.Close()
	wg.Wait()
}

// httpProxy connects every CONNECT to target.
type httpProxy struct {
	target string
	tls    *tls.Config
	asked  chan *http.Request // receives each request
}

func (p httpProxy) serve(conn net.Conn) {
	if p.tls != nil {
		conn = tls.Server(conn, p.tls)
	}
	r := bufio.NewReader(conn)
	request, err := http.ReadRequest(r)
	if err != nil {
		return
	}
	p.asked <- request
	_, _ = io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
	proxySplice(conn, r, p.target)
}

// answerProxy reads a request and sends answer.
func answerProxy(answer string) func(net.Conn) {
	return func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			_, _ = io.WriteString(conn, answer)
		}
	}
}

// silentProxy reads wait bytes, sends answer, and then nothing more. It sends to silent
// at that point, and to ended at the end of the connection.
func silentProxy(wait int, answer string, silent, ended chan<- struct{}) func(net.Conn) {
	return func(conn net.Conn) {
		if _, err := io.ReadFull(conn, make([]byte, wait)); err != nil {
			return
		}
		_, _ = io.WriteString(conn, answer)
		silent <- struct{}{}
		_, _ = io.Copy(io.Discard, conn)
		ended <- struct{}{}
	}
}

// socksProxy is a SOCKS5 proxy that connects every request to target.
type socksProxy struct {
	target         string
	user, password string      // required unless user is empty
	reply          byte        // 0: succeeded
	asked          chan string // receives each address
}

func (p socksProxy) serve(conn net.Conn) {
	read := func(n byte) []byte {
		b := make([]byte, n)
		_, _ = io.ReadFull(conn, b) // after an error, b has zeros
		return b
	}
	methods := read(read(2)[1])
	method := byte(0)
	if p.user != "" {
		method = 2
	}
	if !slices.Contains(methods, method) {
		_, _ = conn.Write([]byte{5, 0xff})
		return
	}
	_, _ = conn.Write([]byte{5, method})
	if p.user != "" {
		user := string(read(read(2)[1]))
		password := string(read(read(1)[0]))
		if user != p.user || password != p.password {
			_, _ = conn.Write([]byte{1, 1})
			return
		}
		_, _ = conn.Write([]byte{1, 0})
	}
	var host string
	switch kind := read(4)[3]; kind {
	case 1, 4:
		ip, _ := netip.AddrFromSlice(read(map[byte]byte{1: 4, 4: 16}[kind]))
		host = ip.String()
	case 3:
		host = string(read(read(1)[0]))
	}
	port := read(2)
	p.asked <- net.JoinHostPort(host, strconv.Itoa(int(port[0])<<8|int(port[1])))
	_, _ = conn.Write([]byte{5, p.reply, 0, 1, 0, 0, 0, 0, 0, 0})
	if p.reply == 0 {
		proxySplice(conn, conn, p.target)
	}
}

// proxyCertificate returns the configuration of a TLS server at 127.0.0.1 and
// example.com, and its root certificate for the client.
func proxyCertificate() (server *tls.Config, authority *x509.CertPool) {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	authority = x509.NewCertPool()
	authority.AddCert(s.Certificate())
	return &tls.Config{Certificates: s.TLS.Certificates}, authority
}
