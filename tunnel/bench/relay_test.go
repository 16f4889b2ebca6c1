package main

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// relayed returns two connections that are joined by one direction of a link.
func relayed(t *testing.T, lk link) (from, to net.Conn) {
	t.Helper()
	forward := startDirection(t, lk)
	from, src := tcpPair(t)
	dst, to := tcpPair(t)
	forward(dst, src)
	return from, to
}

// startDirection starts one direction of a link. forward starts to copy src to dst
// through it. The direction ends with t, after connections that t opens later.
func startDirection(t *testing.T, lk link) (forward func(dst, src net.Conn)) {
	t.Helper()
	w := lk.newDirection()
	var forwarding sync.WaitGroup
	t.Cleanup(func() {
		forwarding.Wait()
		if w.queue != nil {
			close(w.queue)
		}
	})
	return func(dst, src net.Conn) { forwarding.Go(func() { w.forward(dst, src) }) }
}

func tcpPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := listenTCP(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = dialTCP(t.Context(), l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.Close()
		b.Close()
	})
	return a, b
}

// All bytes arrive in order, with the end after them, and not too early. How late they
// arrive depends on the machine.
func TestLink(t *testing.T) {
	t.Parallel()
	sent := make([]byte, 300_000)
	for i := range sent {
		sent[i] = byte(i % 251)
	}
	for _, tt := range []struct {
		name  string
		link  link
		least time.Duration
	}{
		{"delay", link{delay: 30 * time.Millisecond}, 30 * time.Millisecond},
		{"rate", link{rate: 3_000_000}, 100*time.Millisecond - oversleep},
		{"both", link{delay: 30 * time.Millisecond, rate: 3_000_000}, 130*time.Millisecond - oversleep},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			from, to := relayed(t, tt.link)
			started := time.Now()
			go func() {
				from.Write(sent)
				closeWrite(from)
			}()
			got, err := io.ReadAll(to)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, sent) {
				t.Errorf("%d bytes arrived, want the %d that were sent", len(got), len(sent))
			}
			if took := time.Since(started); took < tt.least {
				t.Errorf("took %v, want at least %v", took, tt.least)
			}
		})
	}
}

// A connection that isn't read doesn't block the link for others.
func TestLinkStalledConnection(t *testing.T) {
	t.Parallel()
	forward := startDirection(t, link{rate: 100_000_000})
	stalled, src := tcpPair(t)
	dst, _ := tcpPair(t)
	forward(dst, src)
	go writeZeros(stalled)

	from, src := tcpPair(t)
	dst, to := tcpPair(t)
	forward(dst, src)
	for range 100 {
		if _, err := from.Write([]byte("call")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(to, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
	}
}
