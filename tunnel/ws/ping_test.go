package ws

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// read reads c until the test ends, because Read handles control frames.
func read(t *testing.T, c *Conn) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = readAll(c)
	}()
	t.Cleanup(func() {
		c.CloseWith(websocket.CloseNormalClosure, "")
		<-done
		<-c.Done()
	})
}

func TestPing(t *testing.T) {
	t.Parallel()
	dialed, accepted := tunneltest.WebSockets(t)
	c, peer := Take(dialed, Dialing, nil), Take(accepted, Accepting, nil)
	read(t, c)
	read(t, peer)
	later := time.Now().Add(time.Minute)
	for range 3 {
		if took, err := c.Ping(t.Context(), later); err != nil || took <= 0 {
			t.Fatalf("Ping = %v, %v", took, err)
		}
	}
	if last, least := c.RoundTrips(); least <= 0 || last < least {
		t.Errorf("RoundTrips() = %v, %v", last, least)
	}
	if c.Received() == 0 || time.Since(c.LastActivity()) > time.Minute {
		t.Errorf("Received() = %d, LastActivity() = %v", c.Received(), c.LastActivity())
	}
}

// A Pong completes older Pings, too, and unsolicited Pongs are ignored.
func TestPongs(t *testing.T) {
	t.Parallel()
	dialed, accepted := tunneltest.WebSockets(t)
	pinged := make(chan string, 2*maxPendingPings)
	accepted.SetPingHandler(func(data string) error {
		pinged <- data
		return nil
	})
	go func() { _, _, _ = accepted.ReadMessage() }()
	c := Take(dialed, Dialing, nil)
	read(t, c)
	later := time.Now().Add(time.Minute)
	results := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := c.Ping(t.Context(), later)
			results <- err
		}()
	}
	<-pinged
	newest := <-pinged
	for _, data := range []string{"", "x", "7", newest} {
		if err := accepted.WriteControl(websocket.PongMessage, []byte(data), later); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := <-results; err != nil {
			t.Errorf("Ping = %v", err)
		}
	}
	for range maxPendingPings + 10 {
		if err := c.SendPing(later); err != nil {
			t.Fatal(err)
		}
		<-pinged
	}
	if n := len(c.pings.pending); n != maxPendingPings {
		t.Errorf("%d Pings are pending, want %d", n, maxPendingPings)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := c.Ping(ctx, later)
		results <- err
	}()
	<-pinged
	cancel()
	if err := <-results; !errors.Is(err, context.Canceled) {
		t.Errorf("Ping = %v, want context.Canceled", err)
	}
}
