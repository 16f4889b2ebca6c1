package tunnel

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/wstun/wstun/tunnel/wsmux"
)

func TestStreamListenerServesAllSessions(t *testing.T) {
	t.Parallel()
	streams := NewStreamListener()
	srv := echoServer(t, streams, nil)
	peers := &Sessions{Up: streams.Add}
	t.Cleanup(func() { _ = peers.Shutdown(ended()) })
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
				if err := call(soon(t), cc, fmt.Sprint(i, j)); err != nil {
					t.Errorf("call %d on session %d: %v", j, i, err)
				}
			})
		}
	}
	wg.Wait()
	_ = clients[0].Close()
	for _, cc := range ccs[1:] {
		if err := call(soon(t), cc, "hello"); err != nil {
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

// TestStreamListenerSilentStream: a stream on which nothing has come must not
// hold up the server's GracefulStop.
func TestStreamListenerSilentStream(t *testing.T) {
	t.Parallel()
	streams := NewStreamListener()
	srv := echoServer(t, streams, nil)
	client, server := sessionPair(t)
	streams.Add(&Session{Session: server})
	silent, err := client.Open(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	half, err := client.Open(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	write(t, half, h2Preface)
	for held := 0; held < 2; {
		streams.mu.Lock()
		held = len(streams.silent)
		streams.mu.Unlock()
	}
	stopped := make(chan struct{})
	go func() {
		srv.GracefulStop()
		close(stopped)
	}()
	await(t, "GracefulStop", stopped)
	for _, stream := range []*wsmux.Stream{silent, half} {
		_ = stream.SetReadDeadline(time.Now().Add(patience))
		_, err := stream.Read(make([]byte, 100))
		for err == nil {
			_, err = stream.Read(make([]byte, 100))
		}
		if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
			t.Error("the stream is still open")
		}
	}
}

func TestStreamListenerClose(t *testing.T) {
	t.Parallel()
	streams := NewStreamListener()
	client, server := sessionPair(t)
	streams.Add(&Session{Session: server})
	for range 2 {
		if err := streams.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
	if _, err := streams.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept = %v, want net.ErrClosed", err)
	}
	late, err := client.Open(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	_ = late.SetReadDeadline(time.Now().Add(patience))
	expectEnd(t, late)
	if got, want := streams.Addr().Network()+" "+streams.Addr().String(), "wsmux streams"; got != want {
		t.Errorf("Addr() = %s, want %s", got, want)
	}
}

func TestStreamListenerIsBounded(t *testing.T) {
	t.Parallel()
	streams := NewStreamListener()
	defer streams.Close()
	client, server := sessionPair(t)
	streams.Add(&Session{Session: server})
	var conns []net.Conn
	for range maxStreams {
		if _, err := client.Open(soon(t)); err != nil {
			t.Fatal(err)
		}
		conn, err := streams.Accept()
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	over, err := client.Open(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	_ = over.SetReadDeadline(time.Now().Add(patience))
	expectEnd(t, over)
	_ = conns[0].Close()
	_ = conns[0].Close()
	if _, err := client.Open(soon(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := streams.Accept(); err != nil {
		t.Errorf("Accept after one was closed = %v", err)
	}
}
