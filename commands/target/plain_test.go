package target

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// A waiting call ends gRPC's delay before the next dial.
func TestPlainDialsForWaitingCall(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	serve := func() *grpc.Server {
		l, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
		if err != nil {
			t.Fatal(err)
		}
		server := grpc.NewServer()
		go server.Serve(l)
		t.Cleanup(server.Stop)
		return server
	}
	server := serve()
	c := &client{reconnect: true, say: t.Logf}
	o := &Options{Addr: "unix:" + path, Logger: slog.New(slog.DiscardHandler), Reconnect: true}
	o.Endpoint.MaxRetryInterval = time.Hour
	p, _, err := newPlain(t.Context(), o, c)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	p.options = append(p.options, grpc.WithConnectParams(grpc.ConnectParams{
		Backoff: backoff.Config{BaseDelay: time.Hour, MaxDelay: time.Hour, Multiplier: 1}, MinConnectTimeout: time.Minute,
	}))
	ctx := tunneltest.Soon(t)
	if err := p.connect(ctx); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	for state := p.conn.GetState(); state != connectivity.TransientFailure; state = p.conn.GetState() {
		if !p.conn.WaitForStateChange(ctx, state) {
			t.Fatalf("state %v, want %v", state, connectivity.TransientFailure)
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := p.current(ended); err == nil {
		t.Error("current without a server, want an error")
	}
	serve()
	if _, err := p.current(ctx); err != nil {
		t.Error(err)
	}
}

// A server that is silent until --max-time is over is no reason for --connect-timeout.
func TestPlainMaxTimeHint(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o := &Options{Addr: l.Addr().String(), Logger: slog.New(slog.DiscardHandler), Calls: true, MaxTime: 50 * time.Millisecond}
	_, _, err = Open(t.Context(), o)
	const want = "allow more time with --max-time"
	if pe, ok := errors.AsType[*plainError](err); !ok || pe.Hint() != want {
		t.Errorf("%v, want the hint %q", err, want)
	}
}
