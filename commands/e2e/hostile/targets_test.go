//go:build linux && !race

package hostile

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// A target starts a victim and returns a client's function that makes an innocent call.
// The attacker calls connect, if it needs sessions that are older than the client's.
type target func(t *testing.T, p program, connect func(*victim)) (*victim, func(context.Context) error)

// hub is wstun serve with the demo Hub.
func hub(t *testing.T, p program, connect func(*victim)) (*victim, func(context.Context) error) {
	t.Helper()
	return hubWith(t, p, connect)
}

// mediumHub is hub with as much memory for all sessions as for one.
func mediumHub(t *testing.T, p program, connect func(*victim)) (*victim, func(context.Context) error) {
	t.Helper()
	return hubWith(t, p, connect, "--max-memory", "256MiB")
}

// smallHub is hub with so little memory that a small container has room for it when all limits
// are reached.
func smallHub(t *testing.T, p program, connect func(*victim)) (*victim, func(context.Context) error) {
	t.Helper()
	return hubWith(t, p, connect, "--max-memory", "128MiB")
}

func hubWith(t *testing.T, p program, connect func(*victim), args ...string) (*victim, func(context.Context) error) {
	t.Helper()
	v := p.start(t, 1, append([]string{"serve", "--accept", "127.0.0.1:0"}, args...)...)
	connect(v)
	return v, callHub(dialSession(t, v.url()))
}

// proxy is wstun serve in front of an upstream.
func proxy(t *testing.T, p program, connect func(*victim)) (*victim, func(context.Context) error) {
	t.Helper()
	v := p.start(t, 1, "serve", "--accept", "127.0.0.1:0", "--upstream", serveUpstream(t).String())
	connect(v)
	return v, callHub(dialSession(t, v.url()))
}

// besideHub returns the target of wstun serve in front of two upstreams: the one that
// serve starts, which takes precedence, and the demo Hub for innocent calls.
func besideHub(serve func(*testing.T) net.Addr) target {
	return func(t *testing.T, p program, connect func(*victim)) (*victim, func(context.Context) error) {
		t.Helper()
		v := p.start(t, 1, "serve", "--accept", "127.0.0.1:0", "--upstream", serve(t).String(), "--upstream", serveHub(t).String())
		connect(v)
		call := callHub(dialSession(t, v.url()))
		for call(t.Context()) != nil { // until the Hub has listed its services
			if !v.alive() || t.Context().Err() != nil {
				t.Fatal("no innocent call succeeds")
			}
		}
		return v, call
	}
}

// serveHub serves the demo Hub until t ends.
func serveHub(t *testing.T) net.Addr {
	t.Helper()
	srv := grpc.NewServer()
	demo.New().Register(srv)
	reflection.Register(srv)
	l := tunneltest.Listen(t)
	go srv.Serve(l)
	t.Cleanup(srv.Stop)
	return l.Addr()
}

// rawDeaf is wstun serve --raw in front of a server that accepts nothing, so that the kernel
// buffers little and the victim the rest. Its innocent client opens a WebSocket for each call.
func rawDeaf(t *testing.T, p program, connect func(*victim)) (*victim, func(context.Context) error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "deaf")
	deaf, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = deaf.Close() })
	v := p.start(t, 1, "serve", "--accept", "127.0.0.1:0", "--raw", "--max-memory", "64MiB", "--upstream", "unix:"+path)
	connect(v)
	innocent := newPeer(t)
	return v, func(context.Context) error { return innocent.connectWithToken(v.url()) }
}

// dial is wstun dial with an innocent session, which is the newest.
func dial(t *testing.T, p program, connect func(*victim)) (*victim, func(context.Context) error) {
	t.Helper()
	v := p.start(t, 2, "dial", "--accept", "127.0.0.1:0", "--listen", "127.0.0.1:0")
	connect(v)
	older := strings.Count(v.log(), "session up")
	ws, err := tunnel.DialWebSocket(t.Context(), v.url(), nil)
	if err != nil {
		t.Fatal(err)
	}
	srv, _, err := wsmux.ServeGRPC(ws, func(s *grpc.Server) { demo.New().Register(s) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Stop)
	v.awaitSessions(t, older+1)
	for {
		cc := dialLocal(t, v.addrs[0])
		call := callHub(cc)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		err := call(ctx)
		cancel()
		if err == nil {
			return v, call
		}
		// The session is in the log just before it gets streams, so the connection may
		// use an older one.
		_ = cc.Close()
		if !v.alive() || t.Context().Err() != nil {
			t.Fatal("no innocent call succeeds: ", err)
		}
	}
}

// dialAlone is wstun dial without a session. Innocent calls wait for one and then fail
// with UNAVAILABLE.
func dialAlone(t *testing.T, p program, connect func(*victim)) (*victim, func(context.Context) error) {
	t.Helper()
	v := p.start(t, 2, "dial", "--accept", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--wait", "50ms")
	connect(v)
	call := callHub(dialLocal(t, v.addrs[0]))
	return v, func(ctx context.Context) error {
		if err := call(ctx); status.Code(err) != codes.Unavailable {
			return fmt.Errorf("the call returned %w, want Unavailable", err)
		}
		return nil
	}
}

// dialSession returns a gRPC client through a session of its own.
func dialSession(t *testing.T, url string) *grpc.ClientConn {
	t.Helper()
	session, err := tunnel.Dial(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
	cc, err := session.DialGRPC()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return cc
}

func dialLocal(t *testing.T, addr string) *grpc.ClientConn {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return cc
}

func callHub(cc *grpc.ClientConn) func(context.Context) error {
	client := demo.NewHubClient(cc)
	return func(ctx context.Context) error {
		_, err := client.Sleep(ctx, &demo.SleepRequest{})
		return err
	}
}

// serveUpstream serves gRPC until t ends. It answers Sleep, sends 5 MiB in response to
// GetTemplates, and receives nothing from calls of other methods.
func serveUpstream(t *testing.T) net.Addr {
	t.Helper()
	templates := make([]byte, 5<<20)
	srv := grpc.NewServer(grpc.ForceServerCodecV2(bytesCodec{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		switch method, _ := grpc.MethodFromServerStream(stream); method {
		case demo.Hub_Sleep_FullMethodName:
			return stream.SendMsg([]byte{})
		case demo.Hub_GetTemplates_FullMethodName:
			return stream.SendMsg(templates)
		}
		<-stream.Context().Done()
		return stream.Context().Err()
	}))
	l := tunneltest.Listen(t)
	go srv.Serve(l)
	t.Cleanup(srv.Stop)
	return l.Addr()
}

// bytesCodec sends messages that are byte slices.
type bytesCodec struct{}

func (bytesCodec) Name() string { return "proto" }

func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (bytesCodec) Unmarshal(mem.BufferSlice, any) error { return nil }
