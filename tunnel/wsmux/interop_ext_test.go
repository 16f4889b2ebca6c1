package wsmux_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/hashicorp/yamux"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// plainConn is the shortest way from a WebSocket to a net.Conn: one message
// for each Write, and one Read at a time from each message.
type plainConn struct {
	ws *websocket.Conn
	r  io.Reader
}

func (c *plainConn) Read(p []byte) (int, error) {
	for {
		if c.r == nil {
			_, r, err := c.ws.NextReader()
			if err != nil {
				return 0, err
			}
			c.r = r
		}
		n, err := c.r.Read(p)
		if errors.Is(err, io.EOF) {
			c.r, err = nil, nil
			if n == 0 {
				continue
			}
		}
		return n, err
	}
}

func (c *plainConn) Write(p []byte) (int, error) {
	if err := c.ws.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (c *plainConn) Close() error { return c.ws.Close() }

func plainConfig() *yamux.Config {
	config := yamux.DefaultConfig()
	config.EnableKeepAlive = false
	config.MaxStreamWindowSize = 4 * 1024 * 1024
	config.LogOutput = io.Discard
	return config
}

// Whoever dials and whoever serves. One after the other, because of what the
// largest messages take; these are the same whoever dials.
func TestInteropWithAPlainPeer(t *testing.T) { //nolint:tparallel // see above
	t.Parallel()
	for _, dials := range []string{"the plain peer", "this package"} {
		for _, serves := range []string{"the plain peer", "this package"} {
			t.Run(dials+" dials and "+serves+" serves", func(t *testing.T) {
				ours, theirs := tunneltest.WebSockets(t)
				if dials == "the plain peer" {
					ours, theirs = theirs, ours
				}
				service := newTestService()
				var cc *grpc.ClientConn
				var session *yamux.Session
				if serves == "this package" {
					_, s, err := wsmux.ServeGRPC(ours, service.register)
					if err != nil {
						t.Fatal(err)
					}
					session = s
					plain, err := yamux.Client(&plainConn{ws: theirs}, plainConfig())
					if err != nil {
						t.Fatal(err)
					}
					defer plain.Close()
					cc, err = grpc.NewClient("passthrough:///plain",
						grpc.WithTransportCredentials(insecure.NewCredentials()),
						grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(wsmux.MaxMsgSize)),
						grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return plain.Open() }))
					if err != nil {
						t.Fatal(err)
					}
				} else {
					plain, err := yamux.Server(&plainConn{ws: theirs}, plainConfig())
					if err != nil {
						t.Fatal(err)
					}
					srv := grpc.NewServer(grpc.MaxRecvMsgSize(wsmux.MaxMsgSize))
					service.register(srv)
					served := make(chan struct{})
					go func() {
						defer close(served)
						_ = srv.Serve(plain)
					}()
					defer func() {
						srv.Stop()
						<-served
					}()
					if cc, session, err = wsmux.DialGRPC(ours); err != nil {
						t.Fatal(err)
					}
				}
				defer session.Close()
				defer cc.Close()
				client := testpb.NewTestServiceClient(cc)
				var wg sync.WaitGroup
				for i := range 8 {
					wg.Go(func() {
						req := &testpb.SimpleRequest{Payload: &testpb.Payload{Body: bytes.Repeat([]byte{byte(i)}, 5*1024*1024>>(2*i))}}
						resp, err := client.UnaryCall(t.Context(), req)
						if err != nil || !bytes.Equal(resp.GetPayload().GetBody(), req.Payload.Body) {
							t.Errorf("UnaryCall = %d bytes, %v, want the %d of the request", len(resp.GetPayload().GetBody()), err, len(req.Payload.Body))
						}
					})
				}
				wg.Wait()
				if dials == "this package" {
					checkLimit(t, client)
				}
			})
		}
	}
}
