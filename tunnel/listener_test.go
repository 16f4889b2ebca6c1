package tunnel

import (
	"fmt"
	"sync"
	"testing"

	"google.golang.org/grpc"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

func TestListenerServesAllSessions(t *testing.T) {
	t.Parallel()
	streams := wsmux.NewListener()
	srv := tunneltest.EchoServer(t, streams, nil)
	peers := &Sessions{}
	peers.Subscribe(Subscriber{Up: func(s *Session) { streams.Add(s.Session) }})
	t.Cleanup(func() { _ = peers.Shutdown(tunneltest.Ended()) })
	var ccs []*grpc.ClientConn
	var clients []*wsmux.Session
	for range 3 {
		client, server := sessionPair(t)
		peers.Add(server, "")
		cc, err := client.DialGRPC()
		if err != nil {
			t.Fatal(err)
		}
		defer cc.Close()
		ccs, clients = append(ccs, cc), append(clients, client)
	}
	var wg sync.WaitGroup
	for i, cc := range ccs {
		for j := range 10 {
			wg.Go(func() {
				if err := tunneltest.Call(tunneltest.Soon(t), cc, fmt.Sprint(i, j)); err != nil {
					t.Errorf("call %d on session %d: %v", j, i, err)
				}
			})
		}
	}
	wg.Wait()
	_ = clients[0].Close()
	for _, cc := range ccs[1:] {
		if err := tunneltest.Call(tunneltest.Soon(t), cc, "hello"); err != nil {
			t.Errorf("call after the end of another session: %v", err)
		}
	}
	srv.GracefulStop()
	for _, client := range clients[1:] {
		if client.Err() != nil {
			t.Errorf("the listener's Close has ended a session: %v", client.Err())
		}
	}
}
