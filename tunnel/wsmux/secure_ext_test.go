package wsmux_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/mux"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// secured are an engineer and a Worker with TLS in their streams, and a relay between them.
type secured struct {
	engineer, worker *wsmux.Session
	failed           chan error // at the Worker
	opened           chan tls.ConnectionState
	accepted         chan wsmux.Conn
}

// relayed copies the chunks of one direction of a stream, from the engineer or to it.
type relayed func(dst, src *wsmux.Stream, fromEngineer bool)

func copyAll(dst, src *wsmux.Stream, _ bool) {
	if _, err := io.Copy(dst, src); err != nil {
		_ = dst.Reset()
		return
	}
	_ = dst.CloseWrite()
}

// newSecured connects the two ends through a relay that runs pass for both directions of each
// stream. clientTLS and serverTLS may be nil, for no TLS. The ends accept streams.
func newSecured(t *testing.T, clientTLS, serverTLS *tls.Config, pass relayed, observe func(uint32, bool) *mux.StreamObserver) *secured {
	t.Helper()
	s := &secured{failed: make(chan error, 9), opened: make(chan tls.ConnectionState, 9), accepted: make(chan wsmux.Conn)}
	client, server := &wsmux.Options{Observe: observe}, &wsmux.Options{Observe: observe}
	if clientTLS != nil {
		client.TLS = &wsmux.TLS{Client: func() *tls.Config { return clientTLS }}
	}
	if serverTLS != nil {
		server.TLS = &wsmux.TLS{
			Server: func() *tls.Config { return serverTLS },
			Opened: func(_ *wsmux.Stream, state tls.ConnectionState) { s.opened <- state },
			Failed: func(_ *wsmux.Stream, err error) { s.failed <- err },
		}
	}
	dialed, accepted := tunneltest.WebSockets(t)
	s.engineer = newSessionWith(t, dialed, wsmux.Dialing, wsmux.Client, client)
	near := newSessionWith(t, accepted, wsmux.Accepting, wsmux.Server, nil)
	dialed, accepted = tunneltest.WebSockets(t)
	far := newSessionWith(t, accepted, wsmux.Accepting, wsmux.Client, nil)
	s.worker = newSessionWith(t, dialed, wsmux.Dialing, wsmux.Server, server)
	go near.AcceptEach(func(c wsmux.Conn) {
		engineer := c.(*wsmux.Stream)
		worker, err := far.Open(t.Context())
		if err != nil {
			_ = engineer.Reset()
			return
		}
		go pass(worker, engineer, true)
		go pass(engineer, worker, false)
	})
	go s.worker.AcceptEach(func(c wsmux.Conn) { s.accepted <- c })
	return s
}

// pair returns both ends of a stream.
func (s *secured) pair(t *testing.T) (engineer, worker wsmux.Conn) {
	t.Helper()
	engineer, err := s.engineer.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return engineer, tunneltest.Await(t, "a stream", s.accepted)
}

// configs returns configurations of both ends that trust each other. The Worker is w-1.
func configs(t *testing.T) (client, server *tls.Config) {
	t.Helper()
	workers, people := tunneltest.NewAuthority(t, "workers"), tunneltest.NewAuthority(t, "people")
	client = &tls.Config{RootCAs: workers.Pool(), ServerName: "w-1", MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{people.Issue("alice", time.Hour)}}
	server = &tls.Config{Certificates: []tls.Certificate{workers.Issue("w-1", time.Hour)}, MinVersion: tls.VersionTLS13, ClientCAs: people.Pool(), ClientAuth: tls.RequireAndVerifyClientCert}
	return client, server
}

// Both directions carry bytes and end separately, the Worker knows the engineer, and the
// observers of both ends receive the plaintext.
func TestTLS(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var seen bytes.Buffer
	ended := make(chan error, 2)
	see := func(p []byte) {
		mu.Lock()
		defer mu.Unlock()
		seen.Write(p)
	}
	clientTLS, serverTLS := configs(t)
	s := newSecured(t, clientTLS, serverTLS, copyAll, func(uint32, bool) *mux.StreamObserver {
		return &mux.StreamObserver{Received: see, Sent: see, End: func(err error) { ended <- err }}
	})
	engineer, worker := s.pair(t)
	if name := tunneltest.Await(t, "the handshake", s.opened).PeerCertificates[0].Subject.CommonName; name != "alice" {
		t.Errorf("the engineer is %q", name)
	}
	if engineer.ID() != 1 || engineer.Session() == nil {
		t.Errorf("the stream is %d", engineer.ID())
	}
	mustWrite(t, engineer, "request")
	if err := engineer.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(worker); string(got) != "request" || err != nil {
		t.Fatalf("the worker has received %q, %v", got, err)
	}
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
	go func() {
		_, _ = worker.Write(data)
		_ = worker.Close()
	}()
	var got []byte
	for first := make([]byte, 7); ; { // as package forward reads
		n, err := engineer.Read(first)
		got = append(got, first[:n]...)
		if err != nil {
			if err != io.EOF { //nolint:errorlint // io.Reader's contract
				t.Fatal(err)
			}
			break
		}
		more := make([]byte, 100_000)
		got = append(got, more[:engineer.(*wsmux.TLSConn).ReadBuffered(more)]...)
	}
	if !bytes.Equal(got, data) {
		t.Fatalf("%d bytes have arrived, want the %d sent", len(got), len(data))
	}
	_ = engineer.Close()
	for range 2 {
		if err := tunneltest.Await(t, "the end of an observer", ended); err != nil {
			t.Errorf("an observer's End(%v), want nil", err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if n := strings.Count(seen.String(), "request"); n != 2 || seen.Len() != 2*(len(data)+len("request")) {
		t.Errorf("the observers have seen %d bytes and %d requests", seen.Len(), n)
	}
}

// A reset reaches the other end as one.
func TestTLSReset(t *testing.T) {
	t.Parallel()
	clientTLS, serverTLS := configs(t)
	s := newSecured(t, clientTLS, serverTLS, copyAll, nil)
	engineer, worker := s.pair(t)
	_ = engineer.Reset()
	_ = engineer.Close()
	if _, err := worker.Read(make([]byte, 1)); !errors.Is(err, mux.ErrReset) {
		t.Errorf("Read after a reset = %v", err)
	}
	_ = worker.Close()
}

// The end of the session isn't a failure of TLS.
func TestTLSSessionEnds(t *testing.T) {
	t.Parallel()
	clientTLS, serverTLS := configs(t)
	s := newSecured(t, clientTLS, serverTLS, copyAll, nil)
	_, worker := s.pair(t)
	_ = s.worker.Close()
	_, err := worker.Read(make([]byte, 1))
	if _, isTLS := errors.AsType[*wsmux.TLSError](err); err == nil || isTLS {
		t.Errorf("Read after the end of the session = %v", err)
	}
}

// Each end refuses the other's certificate, or the lack of TLS, with a clear error.
func TestTLSRefusals(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name             string
		change           func(t *testing.T, client, server *tls.Config)
		engineer, worker string // errors
	}{
		{"another authority", func(t *testing.T, client, _ *tls.Config) {
			t.Helper()
			client.RootCAs = tunneltest.NewAuthority(t, "rival").Pool()
		}, "inner TLS with w-1: tls: failed to verify certificate: x509: certificate signed by unknown authority", "remote error: tls: bad certificate"},
		{"another name", func(_ *testing.T, client, _ *tls.Config) { client.ServerName = "w-2" }, "certificate is valid for w-1, not w-2", "bad certificate"},
		{"expired", func(t *testing.T, client, server *tls.Config) {
			t.Helper()
			a := tunneltest.NewAuthority(t, "workers")
			client.RootCAs, server.Certificates = a.Pool(), []tls.Certificate{a.Issue("w-1", -time.Minute)}
		}, "certificate has expired", "bad certificate"},
		{"no client certificate", func(_ *testing.T, client, _ *tls.Config) { client.Certificates = nil }, "remote error: tls: certificate required", "client didn't provide a certificate"},
		{"a client certificate of another authority", func(t *testing.T, client, _ *tls.Config) {
			t.Helper()
			client.Certificates = []tls.Certificate{tunneltest.NewAuthority(t, "rival").Issue("alice", time.Hour)}
		}, "remote error: tls: unknown certificate authority", "certificate signed by unknown authority"},
		{"an expired client certificate", func(t *testing.T, client, server *tls.Config) {
			t.Helper()
			a := tunneltest.NewAuthority(t, "people")
			server.ClientCAs, client.Certificates = a.Pool(), []tls.Certificate{a.Issue("alice", -time.Minute)}
		}, "remote error: tls: expired certificate", "certificate has expired"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			clientTLS, serverTLS := configs(t)
			test.change(t, clientTLS, serverTLS)
			s := newSecured(t, clientTLS, serverTLS, copyAll, nil)
			_, err := s.engineer.Connect(t.Context())
			te, ok := errors.AsType[*wsmux.TLSError](err)
			if !ok || !te.Handshake || te.Name != clientTLS.ServerName || !strings.Contains(err.Error(), test.engineer) {
				t.Errorf("the engineer's error is %v, want %s", err, test.engineer)
			}
			if err := tunneltest.Await(t, "the worker's error", s.failed); !strings.Contains(err.Error(), test.worker) {
				t.Errorf("the worker's error is %v, want %s", err, test.worker)
			}
		})
	}
}

// A Worker without TLS, and an engineer without TLS.
func TestTLSOneSided(t *testing.T) {
	t.Parallel()
	clientTLS, serverTLS := configs(t)
	s := newSecured(t, clientTLS, nil, copyAll, nil)
	go func() {
		c := <-s.accepted
		_, _ = c.Write([]byte("\x00\x00\x00\x04\x00\x00\x00\x00\x00"))
		_ = c.Close()
	}()
	_, err := s.engineer.Connect(t.Context())
	if _, ok := errors.AsType[tls.RecordHeaderError](err); !ok {
		t.Errorf("Connect to a worker without TLS = %v", err)
	}
	s = newSecured(t, nil, serverTLS, copyAll, nil)
	c, err := s.engineer.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	if err := tunneltest.Await(t, "the worker's error", s.failed); !strings.Contains(err.Error(), "does not look like a TLS handshake") {
		t.Errorf("the worker's error is %v", err)
	}
	_ = c.Close()
}

// TLS.Plaintext receives all bytes of a stream without TLS.
func TestTLSPlaintext(t *testing.T) {
	t.Parallel()
	_, serverTLS := configs(t)
	dialed, accepted := tunneltest.WebSockets(t)
	plain := make(chan wsmux.Conn, 1)
	engineer := newSessionWith(t, dialed, wsmux.Dialing, wsmux.Client, nil)
	worker := newSessionWith(t, accepted, wsmux.Accepting, wsmux.Server, &wsmux.Options{TLS: &wsmux.TLS{
		Server: func() *tls.Config { return serverTLS }, Plaintext: func(c wsmux.Conn) { plain <- c },
	}})
	go worker.AcceptEach(func(c wsmux.Conn) { t.Error("a stream without TLS was accepted") })
	stream, err := engineer.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, stream, "hello")
	_ = stream.CloseWrite()
	c := tunneltest.Await(t, "the stream", plain)
	if got, err := io.ReadAll(c); string(got) != "hello" || err != nil {
		t.Errorf("the stream has %q, %v", got, err)
	}
	_ = c.Close()
}

// A stream that stays silent doesn't hold up Shutdown.
func TestTLSShutdown(t *testing.T) {
	t.Parallel()
	_, serverTLS := configs(t)
	for _, sent := range []string{"", "\x16"} {
		s := newSecured(t, nil, serverTLS, copyAll, nil)
		stream, err := s.engineer.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		tunneltest.Eventually(t, "the stream at the worker", func() bool { return s.worker.Stats().Streams == 1 })
		if sent != "" {
			mustWrite(t, stream, sent)
		}
		if err := s.worker.Shutdown(tunneltest.Soon(t)); err != nil {
			t.Errorf("Shutdown with a stream that sent %q: %v", sent, err)
		}
	}
}

// A server that gives no verdict on the client's certificate isn't waited for long, and its first
// bytes aren't lost.
func TestTLSVerdict(t *testing.T) {
	t.Parallel()
	for _, first := range []bool{true, false} {
		clientTLS, serverTLS := configs(t)
		serverTLS.SessionTicketsDisabled = true
		s := newSecured(t, clientTLS, serverTLS, copyAll, nil)
		go func() {
			c := <-s.accepted
			if !first {
				_, _ = io.ReadFull(c, make([]byte, 5))
			}
			_, _ = c.Write([]byte("banner"))
			_ = c.Close()
		}()
		c, err := s.engineer.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		mustWrite(t, c, "hello")
		if got, err := io.ReadAll(c); string(got) != "banner" || err != nil {
			t.Errorf("the server has sent %q, %v", got, err)
		}
		_ = c.Close()
	}
}
