package wsmux

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// pipeSession starts a session without keepalive on one end of a pipe.
func pipeSession(t *testing.T, conn *websocket.Conn, side Side) *Session {
	t.Helper()
	s, err := NewSession(conn, side, map[Side]Role{Dialing: Client, Accepting: Server}[side], &Options{PingInterval: -1, PingTimeout: -1})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// frozenSession returns a session with two streams, and its peer, which reads nothing
// after the two SYNs.
func frozenSession(t *testing.T) (s *Session, streams [2]*Stream, peer *websocket.Conn) {
	t.Helper()
	ws, peer := tunneltest.PipedWebSockets(t)
	s = pipeSession(t, ws, Dialing)
	var reading sync.WaitGroup
	reading.Go(func() {
		for left := len(streams) * 12; left > 0; { // the SYN frames
			_, frames, err := peer.ReadMessage()
			if err != nil {
				t.Error(err)
				return
			}
			left -= len(frames)
		}
	})
	for i := range streams {
		var err error
		if streams[i], err = s.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	reading.Wait()
	return s, streams, peer
}

func TestStreamsThatWait(t *testing.T) { //nolint:paralleltest // a bubble
	tunneltest.KeepTimersApart(t)
	synctest.Test(t, func(t *testing.T) {
		dialed, accepting := tunneltest.PipedWebSockets(t)
		client, server := pipeSession(t, dialed, Dialing), pipeSession(t, accepting, Accepting)

		// A stream that the peer doesn't accept doesn't end the session.
		waiting, err := client.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(2 * time.Hour)
		if err := client.Err(); err != nil {
			t.Fatalf("Err() after a stream was not accepted for two hours: %v", err)
		}
		accepted, err := server.Accept()
		if err != nil {
			t.Fatal(err)
		}

		// A half-closed stream is reset after five minutes, so Read doesn't return io.EOF.
		if err := waiting.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		<-time.After(5*time.Minute - time.Second)
		if _, err := accepted.Write([]byte("late")); err != nil {
			t.Errorf("Write to a half-closed stream: %v", err)
		}
		buf := make([]byte, 8)
		if n, err := waiting.Read(buf); err != nil || string(buf[:n]) != "late" {
			t.Errorf("Read from a half-closed stream = %q, %v, want late", buf[:n], err)
		}
		if n, err := waiting.Read(buf); err == nil || errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "half-closed") {
			t.Errorf("Read from a stream half-closed for too long = %d, %v, want an error that says so", n, err)
		}
		_, _ = waiting.Close(), accepted.Close()

		if err := client.Err(); err != nil {
			t.Errorf("Err() = %v, want a live session", err)
		}
		_, _ = client.Close(), server.Close()
	})
}

// Stream.Close doesn't wait for a peer that reads nothing.
func TestStreamCloseDoesNotWaitForAFrozenPeer(t *testing.T) { //nolint:paralleltest // a bubble
	tunneltest.KeepTimersApart(t)
	synctest.Test(t, func(t *testing.T) {
		s, streams, peer := frozenSession(t)
		flooded, readErr := make(chan struct{}), make(chan error, 1)
		go func() {
			defer close(flooded)
			_, _ = io.Copy(streams[0], endless{})
		}()
		go func() {
			_, err := streams[1].Read(make([]byte, 1))
			readErr <- err
		}()
		synctest.Wait()
		began := time.Now()
		_ = streams[1].Close()
		if took := time.Since(began); took > streamCloseWait {
			t.Errorf("Close took %v, want %v at most", took, streamCloseWait)
		}
		if err := <-readErr; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read during Close = %v, want net.ErrClosed", err)
		}
		_ = peer.Close()
		<-flooded
		_ = s.Close()
	})
}

// A link may stall for a minute. hashicorp/yamux's default of ten seconds, which
// includes the time that a frame is queued, would be too short for a slow link.
func TestStalledLinkHasAMinute(t *testing.T) { //nolint:paralleltest // a bubble
	tunneltest.KeepTimersApart(t)
	synctest.Test(t, func(t *testing.T) {
		s, streams, peer := frozenSession(t)
		flooded := make(chan struct{})
		go func() {
			defer close(flooded)
			_, _ = io.Copy(streams[0], endless{})
		}()
		<-time.After(writeTimeout - time.Second)
		if err := s.Err(); err != nil {
			t.Errorf("Err() on a link that was stalled for less than a minute = %v", err)
		}
		_ = peer.Close()
		<-flooded
		_ = s.Close()
	})
}

// A call after the end of the session fails immediately.
func TestDialGRPCFailsAtOnce(t *testing.T) { //nolint:paralleltest // a bubble
	tunneltest.KeepTimersApart(t)
	synctest.Test(t, func(t *testing.T) {
		dialed, accepted := tunneltest.PipedWebSockets(t)
		server, serverSession, err := ServeGRPC(accepted, func(*grpc.Server) {})
		if err != nil {
			t.Fatal(err)
		}
		cc, clientSession, err := DialGRPC(dialed)
		if err != nil {
			t.Fatal(err)
		}
		defer cc.Close()
		call := func() error { return cc.Invoke(t.Context(), "/no/method", new(emptypb.Empty), new(emptypb.Empty)) }
		if err := call(); status.Code(err) != codes.Unimplemented {
			t.Errorf("a call = %v, want Unimplemented from the peer", err)
		}
		server.Stop()
		<-serverSession.CloseChan()
		<-clientSession.CloseChan()
		for range 3 {
			began := time.Now()
			if err := call(); status.Code(err) != codes.Unavailable {
				t.Errorf("a call = %v, want Unavailable", err)
			}
			if took := time.Since(began); took > 0 {
				t.Errorf("a call without a session took %v to fail", took)
			}
		}
	})
}
