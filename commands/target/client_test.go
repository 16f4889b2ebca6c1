package target

import (
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// A server may send a client away at once, such as a wstun dial that changes its session.
func TestAwaitReadyAfterGoAway(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for goAway := true; ; goAway = false {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			framer := http2.NewFramer(conn, conn)
			_ = framer.WriteSettings()
			if goAway {
				_ = framer.WriteGoAway(0, http2.ErrCodeNo, nil)
			}
		}
	}()
	cc, err := grpc.NewClient("passthrough:///"+l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithIdleTimeout(0))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	if err := awaitReady(t.Context(), cc, 30*time.Second, func() error { return errNotGRPC }); err != nil {
		t.Error(err)
	}
}
