package wsmux_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

func TestSessionErrSaysThatBothEndsHaveTheSameRole(t *testing.T) {
	t.Parallel()
	for _, role := range []wsmux.Role{wsmux.Client, wsmux.Server} {
		t.Run(role.String(), func(t *testing.T) {
			t.Parallel()
			dialed, accepted := tunneltest.WebSockets(t)
			ends := []*wsmux.Session{newSession(t, dialed, wsmux.Dialing, role), newSession(t, accepted, wsmux.Accepting, role)}
			var wg sync.WaitGroup
			for _, s := range ends {
				wg.Go(func() { _, _ = s.Open(t.Context()) })
			}
			wg.Wait()
			for _, s := range ends {
				waitDone(t, s)
				if err := s.Err(); !strings.Contains(err.Error(), "yamux role "+role.String()) {
					t.Errorf("Err() = %v, want one that names the role", err)
				}
			}
		})
	}
}

func TestSessionErrSaysThatThePeerDoesNotSpeakYamux(t *testing.T) {
	t.Parallel()
	ws, peer := tunneltest.WebSockets(t)
	s := newSession(t, ws, wsmux.Dialing, wsmux.Client)
	send(t, peer, websocket.BinaryMessage, []byte("GET / HTTP/1.1\r\n\r\n"))
	waitDone(t, s)
	if err := s.Err(); !strings.Contains(err.Error(), "doesn't speak yamux") {
		t.Errorf("Err() = %v, want one that says the peer doesn't speak yamux", err)
	}
	if _, _, err := peer.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseProtocolError) {
		t.Errorf("peer's ReadMessage: %v, want status code 1002", err)
	}
}

func TestSessionErrSaysWhyTheSessionEnded(t *testing.T) {
	t.Parallel()
	reason := errors.New("no sign of life for 90s")
	status := func(code int) func(error) bool {
		return func(err error) bool {
			ce, ok := errors.AsType[*websocket.CloseError](err)
			return ok && ce.Code == code
		}
	}
	is := func(target error) func(error) bool {
		return func(err error) bool { return errors.Is(err, target) }
	}
	for _, tc := range []struct {
		name string
		end  func(s *wsmux.Session, ws, peer *websocket.Conn)
		want func(error) bool
	}{
		{"Close frame 1001", func(_ *wsmux.Session, _, peer *websocket.Conn) { sendClose(t, peer, 1001, "") }, status(1001)},
		{"Close frame 1011", func(_ *wsmux.Session, _, peer *websocket.Conn) { sendClose(t, peer, 1011, "") }, status(1011)},
		{"Close frame and end", func(_ *wsmux.Session, _, peer *websocket.Conn) {
			sendClose(t, peer, 1011, "")
			_ = peer.Close()
		}, status(1011)},
		{"end of the connection", func(_ *wsmux.Session, _, peer *websocket.Conn) { _ = peer.Close() }, func(err error) bool {
			_, ok := errors.AsType[net.Error](err) // a reset, if data was in flight
			return ok || status(1006)(err)
		}},
		{"local Close", func(s *wsmux.Session, _, _ *websocket.Conn) { _ = s.Close() }, is(net.ErrClosed)},
		{"local Close of the WebSocket", func(_ *wsmux.Session, ws, _ *websocket.Conn) { _ = ws.Close() }, is(net.ErrClosed)},
		{"CloseWithError", func(s *wsmux.Session, _, _ *websocket.Conn) { s.CloseWithError(reason) }, is(reason)},
		{"CloseWithError after Close", func(s *wsmux.Session, _, _ *websocket.Conn) {
			_ = s.Close()
			s.CloseWithError(reason)
		}, is(net.ErrClosed)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ws, peer := tunneltest.WebSockets(t)
			s := newSession(t, ws, wsmux.Dialing, wsmux.Client)
			stream, err := s.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			go func() { // a concurrent Write must not hide the reason
				for err := error(nil); err == nil; {
					_, err = stream.Write(make([]byte, 1))
				}
			}()
			tc.end(s, ws, peer)
			waitDone(t, s)
			if err := s.Err(); !tc.want(err) {
				t.Errorf("Err() = %v (%T)", err, err)
			}
			_, err = stream.Read(make([]byte, 1))
			if err == nil || err != io.EOF && !tc.want(err) { //nolint:errorlint // a stream that ended in order
				t.Errorf("Read = %v, want the session's reason", err)
			}
			if _, err := s.Accept(); !tc.want(err) {
				t.Errorf("Accept = %v, want the session's reason", err)
			}
			if _, err := s.Open(t.Context()); !tc.want(err) {
				t.Errorf("Open = %v, want the session's reason", err)
			}
		})
	}
}

// CloseWithError sends the status code of a CloseError, unless no Close frame may have it.
func TestSessionCloseWithStatusCode(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ in, want websocket.CloseError }{
		{websocket.CloseError{Code: 4409, Text: "replaced"}, websocket.CloseError{Code: 4409, Text: "replaced"}},
		{websocket.CloseError{Code: websocket.CloseServiceRestart}, websocket.CloseError{Code: websocket.CloseServiceRestart}},
		{websocket.CloseError{Code: websocket.CloseAbnormalClosure}, websocket.CloseError{Code: websocket.CloseInternalServerErr, Text: "websocket: close 1006 (abnormal closure)"}},
	} {
		client, server := sessions(t)
		server.CloseWithError(&tc.in)
		if ce, ok := errors.AsType[*websocket.CloseError](server.Err()); !ok || *ce != tc.in {
			t.Errorf("Err() = %v, want %v", server.Err(), &tc.in)
		}
		waitDone(t, client)
		if ce, ok := errors.AsType[*websocket.CloseError](client.Err()); !ok || *ce != tc.want {
			t.Errorf("after CloseWithError(%v), the peer's Err() = %v, want %v", &tc.in, client.Err(), &tc.want)
		}
	}
}

func TestSessionErrAfterTheConnectionIsCut(t *testing.T) {
	t.Parallel()
	client, server, relay := relayedSessions(t)
	relay.Cut()
	for _, s := range []*wsmux.Session{client, server} {
		waitDone(t, s)
		if err := s.Err(); err == nil || errors.Is(err, net.ErrClosed) {
			t.Errorf("Err() = %v, want the network's error", err)
		}
	}
}

func TestSessionCloseDoesNotWaitForAFrozenPeer(t *testing.T) {
	t.Parallel()
	client, server, relay := relayedSessions(t)
	opened, accepted := connect(t, client, server)
	writeErr := make(chan error, 1)
	relay.Freeze()
	go func() {
		_, err := io.Copy(opened, zeros{}) // fills the socket's buffer
		writeErr <- err
	}()
	awaitStuck(t, client)
	closed := make(chan error, 1)
	go func() { closed <- client.Close() }()
	if _, ok := tunneltest.Within(2*time.Second, closed); !ok {
		t.Error("Close takes more than 2s, want under a second")
	}
	if err := <-writeErr; err == nil {
		t.Error("Write = nil error after Close")
	}
	relay.Cut()
	waitDone(t, server)
	if _, err := io.Copy(io.Discard, accepted); err == nil {
		t.Error("Copy from a stream whose session was cut = nil error")
	}
}

type zeros struct{}

// awaitStuck waits until s can't send any more: until a Ping times out.
func awaitStuck(t *testing.T, s *wsmux.Session) {
	t.Helper()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := s.Ping(ctx)
		cancel()
		if err != nil {
			return
		}
	}
}

func TestSessionShutdownWaitsForStreams(t *testing.T) {
	t.Parallel()
	client, server := sessions(t)
	opened, accepted := connect(t, client, server)
	acceptErr := make(chan error, 1)
	go func() {
		_, err := server.Accept()
		acceptErr <- err
	}()
	done := make(chan error, 1)
	go func() { done <- server.Shutdown(t.Context()) }()
	if err := <-acceptErr; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept during Shutdown = %v, want net.ErrClosed", err)
	}
	if _, err := server.Open(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Open during Shutdown = %v, want net.ErrClosed", err)
	}
	mustWrite(t, opened, "in flight")
	mustRead(t, accepted, "in flight")
	mustWrite(t, accepted, "answer")
	select {
	case err := <-done:
		t.Fatalf("Shutdown = %v with a stream open", err)
	default:
	}
	_ = accepted.Close()
	mustRead(t, opened, "answer")
	if _, err := opened.Read(make([]byte, 1)); err != io.EOF { //nolint:errorlint // io.EOF itself is promised
		t.Errorf("Read = %v, want io.EOF", err)
	}
	if err := <-done; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	waitDone(t, client)
	ce, ok := errors.AsType[*websocket.CloseError](client.Err())
	if !ok || ce.Code != websocket.CloseGoingAway {
		t.Errorf("Err() at the other end = %v, want status code 1001", client.Err())
	}
}

func TestSessionShutdownEndsWithItsContext(t *testing.T) {
	t.Parallel()
	client, server := sessions(t)
	_, accepted := connect(t, client, server)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown = %v, want context.DeadlineExceeded", err)
	}
	waitDone(t, server)
	if _, err := accepted.Write([]byte("x")); err == nil {
		t.Error("Write after Shutdown = nil error")
	}
	if err := server.Shutdown(t.Context()); err != nil {
		t.Errorf("second Shutdown: %v", err)
	}
}

func TestSessionShutdownWhileStreamsComeAndGo(t *testing.T) {
	t.Parallel()
	client, server := sessions(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				stream, err := client.Open(t.Context())
				if err != nil {
					return
				}
				_, _ = stream.Write([]byte("x"))
				_ = stream.Close()
			}
		})
		wg.Go(func() {
			for {
				stream, err := server.Accept()
				if err != nil {
					return
				}
				_, _ = stream.Read(make([]byte, 1))
				_ = stream.Close()
			}
		})
	}
	opened, accepted := connect(t, server, client)
	_, _ = opened.Close(), accepted.Close()
	for range 2 {
		wg.Go(func() {
			if err := server.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
		})
	}
	within(t, "Shutdown", wg.Wait)
}
