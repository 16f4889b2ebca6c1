package proxy_test

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/wstun/wstun/tunnel/proxy"
)

// The proxy forwards calls to a server whose services it doesn't know.
func Example() {
	serve := func(srv *grpc.Server) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err.Error()
		}
		go func() { _ = srv.Serve(l) }() // until it is stopped
		return l.Addr().String()
	}

	backend := grpc.NewServer()
	healthpb.RegisterHealthServer(backend, health.NewServer())
	defer backend.Stop()
	u, err := proxy.NewUpstream(serve(backend), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = u.Close() }()

	srv := grpc.NewServer(proxy.New([]*proxy.Upstream{u}).ServerOptions()...)
	defer srv.Stop()
	cc, err := grpc.NewClient(serve(srv), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = cc.Close() }()
	resp, err := healthpb.NewHealthClient(cc).Check(context.Background(), &healthpb.HealthCheckRequest{})
	fmt.Println(resp.GetStatus(), err)
	// Output: SERVING <nil>
}
