//go:build unix

package e2e

import (
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// front is a load balancer that sends connections to one relay.
type front struct {
	net.Listener

	relay atomic.Pointer[string] // its address
}

func newFront(t *testing.T) *front {
	t.Helper()
	f := &front{Listener: tunneltest.Listen(t)}
	go func() {
		for {
			near, err := f.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", *f.relay.Load())
			if err != nil {
				near.Close()
				continue
			}
			copyAndClose := func(dst, src net.Conn) {
				_, _ = io.Copy(dst, src)
				dst.Close()
				src.Close()
			}
			go copyAndClose(near, far)
			go copyAndClose(far, near)
		}
	}()
	return f
}

// A relay that has only sent engineers on to another one drains within seconds: they have moved
// by then, and no call has failed.
func TestHopDrains(t *testing.T) {
	t.Parallel()
	nats := startDaemon(t, "natsserver").find(t, `^127.*$`)
	urls := map[string]string{}
	relays := map[string]*process{}
	for _, id := range []string{"r1", "r2", "r3"} {
		relays[id] = startDaemon(t, "wstun", "relay", "--accept", "127.0.0.1:0", "--id", id, "--directory", "nats://"+nats, "--drain-pace", "1s")
		urls[id] = relays[id].find(t, `^(ws://.*)/$`)
		relays[id].find(t, `directory connected`)
	}
	upstream := tunneltest.Listen(t)
	tunneltest.EchoServer(t, upstream, nil)
	startDaemon(t, "wstun", "serve", "--upstream", upstream.Addr().String(), "--name", "w-1", urls["r1"]).find(t, `msg=ready`)

	lb := newFront(t)
	to := func(id string) {
		addr := strings.TrimPrefix(urls[id], "ws://")
		lb.relay.Store(&addr)
	}
	to("r2")
	var engineers []*process
	var addrs []string
	for range 2 {
		e := startDaemon(t, "wstun", "dial", "--listen", "127.0.0.1:0", "--to", "w-1", "ws://"+lb.Addr().String())
		e.find(t, `session up`)
		engineers = append(engineers, e)
		addrs = append(addrs, e.find(t, `^(127.*)$`))
	}
	busy, quiet := tunneltest.Caller(t, addrs[0]), tunneltest.Caller(t, addrs[1])
	if err := tunneltest.Call(t.Context(), quiet, "hello"); err != nil {
		t.Fatal(err)
	}
	to("r3")
	begin := time.Now()
	if err := relays["r2"].cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	calls := 0
	for done := false; !done; calls++ {
		select {
		case <-relays["r2"].exited:
			done = true
		case <-time.After(time.Millisecond):
		}
		if err := tunneltest.Call(t.Context(), busy, "hello"); err != nil {
			t.Fatalf("call %d: %v", calls, err)
		}
	}
	took := time.Since(begin)
	t.Logf("the relay has ended after %v; %d calls meanwhile", took.Round(time.Millisecond), calls)
	if status, err := relays["r2"].exitStatus(); status != 0 || err != nil || took > 20*time.Second {
		t.Errorf("the relay has ended with status %d, %v after %v, want 0 after seconds", status, err, took)
	}
	if err := tunneltest.Call(t.Context(), quiet, "hello"); err != nil {
		t.Error(err)
	}
	for _, e := range engineers {
		if strings.Contains(e.String(), "1012") {
			t.Error("a session was cut")
		}
	}
}
