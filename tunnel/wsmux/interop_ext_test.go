package wsmux_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/hashicorp/yamux"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

func hashicorpConfig() *yamux.Config {
	config := yamux.DefaultConfig()
	config.EnableKeepAlive = false
	config.MaxStreamWindowSize = 4 * 1024 * 1024
	config.LogOutput = io.Discard
	return config
}

// Each of the two may dial and each may serve. The subtests aren't parallel because the
// largest messages need much memory.
func TestInteropWithHashicorpPeer(t *testing.T) { //nolint:tparallel // see above
	t.Parallel()
	for _, dials := range []string{"the peer", "this package"} {
		for _, serves := range []string{"the peer", "this package"} {
			t.Run(dials+" dials and "+serves+" serves", func(t *testing.T) {
				ours, theirs := tunneltest.WebSockets(t)
				if dials == "the peer" {
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
					peer, err := yamux.Client(&tunneltest.MessageConn{Conn: theirs}, hashicorpConfig())
					if err != nil {
						t.Fatal(err)
					}
					defer peer.Close()
					cc, err = grpc.NewClient("passthrough:///peer",
						grpc.WithTransportCredentials(insecure.NewCredentials()),
						grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(wsmux.MaxMsgSize)),
						grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return peer.Open() }))
					if err != nil {
						t.Fatal(err)
					}
				} else {
					peer, err := yamux.Server(&tunneltest.MessageConn{Conn: theirs}, hashicorpConfig())
					if err != nil {
						t.Fatal(err)
					}
					srv := grpc.NewServer(grpc.MaxRecvMsgSize(wsmux.MaxMsgSize))
					service.register(srv)
					served := make(chan struct{})
					go func() {
						defer close(served)
						_ = srv.Serve(peer)
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
