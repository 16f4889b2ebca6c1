package forward

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

func TestForwarderShutdown(t *testing.T) {
	t.Parallel()
	type client struct {
		local *net.TCPConn
		peer  *wsmux.Stream
	}
	for _, test := range []struct {
		name string
		sent string // by the local client
		cut  bool   // the connection is reset when ctx ends
	}{
		{"nothing sent", "", false},
		{"idle HTTP/2", http2.ClientPreface + string(rawFrame(http2.FrameSettings, 0, 0, 0)), false},
		{"a malformed frame", http2.ClientPreface + string(rawFrame(http2.FrameSettings, 0, 0, 0)) + string(rawFrame(http2.FrameContinuation, endHeaders, 1, 3)), false},
		{"a call", http2.ClientPreface + string(rawFrame(http2.FrameSettings, 0, 0, 0)) + string(rawFrame(http2.FrameHeaders, endStream|endHeaders, 1, 3)), true},
		{"not HTTP/2", "SSH-2.0-x\r\n", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			logged := make(messages, 10)
			f := &Forwarder{Sessions: newSessions(t), Logger: slog.New(logged)}
			session, peer := sessionPair(t)
			f.Sessions.Add(session, "")
			c := client{local: tunneltest.DialTCP(t, forward(t, f))}
			tunneltest.Write(t, c.local, test.sent)
			if got, want := tunneltest.Await(t, "the log", logged), "forwarding"; got != want {
				t.Fatalf("logged %q, want %q", got, want)
			}
			c.peer = acceptStream(t, peer)
			tunneltest.Expect(t, c.peer, test.sent)
			go func() { // as a server does
				_, _ = io.Copy(io.Discard, c.peer)
				_ = c.peer.Close()
			}()
			ctx := tunneltest.Soon(t)
			if test.cut {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
			}
			ending := make(chan error, 1)
			go func() { ending <- f.Shutdown(ctx) }()
			_, err := c.local.Read(make([]byte, 1))
			if reset := !errors.Is(err, io.EOF); err == nil || reset != test.cut {
				t.Errorf("Read = %v, reset %v, want %v", err, reset, test.cut)
			}
			_ = c.local.Close()
			switch err := tunneltest.Await(t, "Shutdown", ending); {
			case test.cut && (!errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "1 connection cut: ")):
				t.Errorf("Shutdown = %v, want 1 connection cut", err)
			case !test.cut && err != nil:
				t.Errorf("Shutdown = %v, want nil", err)
			}
		})
	}
}

func TestForwarderShutdownLetsCallsFinish(t *testing.T) {
	t.Parallel()
	called, finish := make(chan struct{}), make(chan struct{})
	addr, f := forwardCalls(t, func(context.Context) {
		called <- struct{}{}
		<-finish
	})
	cc := tunneltest.Caller(t, addr)
	result := make(chan error, 1)
	go func() { result <- tunneltest.Call(tunneltest.Soon(t), cc, "hello") }()
	tunneltest.Await(t, "the call", called)
	ending := make(chan error, 1)
	go func() { ending <- f.Shutdown(tunneltest.Soon(t)) }()
	select {
	case err := <-ending:
		t.Fatalf("Shutdown = %v with a call in flight", err)
	case err := <-result:
		t.Fatalf("call = %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(finish)
	if err := tunneltest.Await(t, "the call", result); err != nil {
		t.Errorf("call = %v, want it to finish", err)
	}
	if err := tunneltest.Await(t, "Shutdown", ending); err != nil {
		t.Errorf("Shutdown = %v", err)
	}
}

func TestForwarderShutdownClosesIdleClient(t *testing.T) {
	t.Parallel()
	addr, f := forwardCalls(t, nil)
	cc := tunneltest.Caller(t, addr)
	if err := tunneltest.Call(tunneltest.Soon(t), cc, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := f.Shutdown(tunneltest.Soon(t)); err != nil {
		t.Errorf("Shutdown = %v", err)
	}
	if err := f.Shutdown(tunneltest.Soon(t)); err != nil {
		t.Errorf("second Shutdown = %v", err)
	}
}

// A call that waits for a session fails with the reason.
func TestForwarderShutdownFailsWaitingCalls(t *testing.T) {
	t.Parallel()
	f := &Forwarder{Sessions: newSessions(t), Wait: time.Hour}
	cc := tunneltest.Caller(t, forward(t, f))
	result := make(chan error, 1)
	go func() { result <- tunneltest.Call(tunneltest.Soon(t), cc, "hello") }()
	for flows := 0; flows == 0; {
		f.mu.Lock()
		flows = len(f.flows)
		f.mu.Unlock()
	}
	if err := f.Shutdown(tunneltest.Soon(t)); err != nil {
		t.Errorf("Shutdown = %v", err)
	}
	err := tunneltest.Await(t, "the call", result)
	if s := status.Convert(err); s.Code() != codes.Unavailable || s.Message() != "wstun: no session: shutting down" {
		t.Errorf("call = %v, want Unavailable and shutting down", err)
	}
}

// Shutdown doesn't wait for a write that blocks on a stalled session.
func TestForwarderShutdownOfStalled(t *testing.T) {
	t.Parallel()
	client, peer, relay := relayedSessions(t)
	f := &Forwarder{Sessions: newSessions(t)}
	f.Sessions.Add(client, "")
	local := tunneltest.DialTCP(t, forward(t, f))
	tunneltest.Write(t, local, "hello")
	stream := acceptStream(t, peer)
	tunneltest.Expect(t, stream, "hello")
	go func() { _, _ = io.Copy(io.Discard, stream) }()
	relay.Freeze()
	for { // until all buffers are full
		_ = local.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		if _, err := local.Write(make([]byte, 1<<20)); err != nil {
			break
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	ending := make(chan error, 1)
	go func() { ending <- f.Shutdown(ctx) }()
	if err, ok := tunneltest.Within(10*time.Second, ending); !ok || err == nil {
		t.Errorf("Shutdown = %v, in time %v, want an error about a connection that was cut", err, ok)
	}
	_ = client.Close()
}
