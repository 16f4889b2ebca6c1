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

// startProxyPeer has serve handle the connections to a loopback address, which
// it returns. They are closed when serve returns and when the test ends.
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

// startProxyTarget starts a server that sends back what it gets.
func startProxyTarget(t *testing.T) string {
	t.Helper()
	return startProxyPeer(t, func(conn net.Conn) { _, _ = io.Copy(conn, conn) })
}

// proxySplice passes bytes between conn, of which r is what can be read, and target
// until either ends.
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

// httpProxy answers CONNECT and passes on to target, whatever it was asked for.
type httpProxy struct {
	target string
	tls    *tls.Config
	asked  chan *http.Request // gets each request
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

// silentProxy sends answer, if it isn't empty, once it has read as many bytes
// as wait, and then nothing more. It reports that, and the connection's end.
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

// socksProxy speaks SOCKS5 and passes on to target, whatever it was asked for.
type socksProxy struct {
	target         string
	user, password string      // demanded unless user is empty
	reply          byte        // 0: succeeded
	asked          chan string // gets each address
}

func (p socksProxy) serve(conn net.Conn) {
	read := func(n byte) []byte {
		b := make([]byte, n)
		_, _ = io.ReadFull(conn, b) // zeros at the end
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

// proxyCertificate returns what a server at 127.0.0.1 and example.com needs,
// and the authority that a client needs.
func proxyCertificate() (server *tls.Config, authority *x509.CertPool) {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	authority = x509.NewCertPool()
	authority.AddCert(s.Certificate())
	return &tls.Config{Certificates: s.TLS.Certificates}, authority
}
