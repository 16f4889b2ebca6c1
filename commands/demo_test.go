package commands

import (
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/commands/demo"
)

// brokenHub is a Hub whose Watch fails at once.
type brokenHub struct{ demo.UnimplementedHubServer }

func (brokenHub) WatchKeys(*demo.WatchKeysRequest, grpc.ServerStreamingServer[demo.KeyEvent]) error {
	return status.Error(codes.Internal, "out of events")
}

// A Watch that fails is the demo's error, not its end.
func TestDemoWatchFails(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	demo.RegisterHubServer(srv, brokenHub{})
	reflection.Register(srv)
	go func() { _ = srv.Serve(l) }()
	defer srv.Stop()
	p := &program{stdout: &strings.Builder{}}
	if err := p.showDemo(t.Context(), l); err == nil || !strings.Contains(err.Error(), "out of events") {
		t.Errorf("showDemo = %v, want why the Watch failed", err)
	}
}
