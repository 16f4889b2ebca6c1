package wsmux_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/gorilla/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/wstun/wstun/tunnel/wsmux"
)

// The side that dials the WebSocket serves gRPC to the side that accepts it.
func ExampleServeGRPC() {
	// The accepting side: an HTTP handler that is the gRPC client.
	upgrader := websocket.Upgrader{WriteBufferSize: wsmux.BufferSize, ReadBufferSize: wsmux.BufferSize}
	worker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return // Upgrade has answered
		}
		cc, session, err := wsmux.DialGRPC(ws)
		if err != nil {
			fmt.Println(err)
			return
		}
		defer session.Close()
		defer cc.Close()
		resp, err := healthpb.NewHealthClient(cc).Check(r.Context(), &healthpb.HealthCheckRequest{})
		fmt.Println(resp.GetStatus(), err)
	}))
	defer worker.Close()

	// The dialing side: the gRPC server.
	dialer := websocket.Dialer{WriteBufferSize: wsmux.BufferSize, ReadBufferSize: wsmux.BufferSize}
	ws, resp, err := dialer.Dial("ws"+strings.TrimPrefix(worker.URL, "http"), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	srv, session, err := wsmux.ServeGRPC(ws, func(srv *grpc.Server) {
		healthpb.RegisterHealthServer(srv, health.NewServer())
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer srv.Stop()
	<-session.CloseChan()
	// Output: SERVING <nil>
}

// The side that dials the WebSocket may also be the gRPC client.
func ExampleDialGRPC() {
	upgrader := websocket.Upgrader{WriteBufferSize: wsmux.BufferSize, ReadBufferSize: wsmux.BufferSize}
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return // Upgrade has answered
		}
		_, session, err := wsmux.ServeGRPC(ws, func(srv *grpc.Server) {
			healthpb.RegisterHealthServer(srv, health.NewServer())
		})
		if err != nil {
			fmt.Println(err)
			return
		}
		<-session.CloseChan()
	}))
	defer hub.Close()

	dialer := websocket.Dialer{WriteBufferSize: wsmux.BufferSize, ReadBufferSize: wsmux.BufferSize}
	ws, resp, err := dialer.Dial("ws"+strings.TrimPrefix(hub.URL, "http"), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	cc, session, err := wsmux.DialGRPC(ws)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer session.Close()
	defer cc.Close()
	answer, err := healthpb.NewHealthClient(cc).Check(context.Background(), &healthpb.HealthCheckRequest{})
	fmt.Println(answer.GetStatus(), err)
	// Output: SERVING <nil>
}
