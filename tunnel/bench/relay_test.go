package main

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// relayed returns two connected ends with one way of a link in between.
func relayed(t *testing.T, lk link) (from, to net.Conn) {
	t.Helper()
	pass := startWay(t, lk)
	from, src := tcpPair(t)
	dst, to := tcpPair(t)
	pass(dst, src)
	return from, to
}

// startWay returns what has one way of a link pass bytes from src on to dst. It
// ends with t, behind the connections that are made later.
func startWay(t *testing.T, lk link) (pass func(dst, src net.Conn)) {
	t.Helper()
	w := lk.newWay()
	var passing sync.WaitGroup
	t.Cleanup(func() {
		passing.Wait()
		if w.queue != nil {
			close(w.queue)
		}
	})
	return func(dst, src net.Conn) { passing.Go(func() { w.pass(dst, src) }) }
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

// Everything arrives, in order, with the end after it, and not too early. How
// late is up to the machine.
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
				t.Errorf("%d bytes arrived, want the %d sent", len(got), len(sent))
			}
			if took := time.Since(started); took < tt.least {
				t.Errorf("took %v, want at least %v", took, tt.least)
			}
		})
	}
}

// A connection that nobody reads from leaves the link to the others.
func TestLinkStalledConnection(t *testing.T) {
	t.Parallel()
	pass := startWay(t, link{rate: 100_000_000})
	stalled, src := tcpPair(t)
	dst, _ := tcpPair(t)
	pass(dst, src)
	go writeForEver(stalled)

	from, src := tcpPair(t)
	dst, to := tcpPair(t)
	pass(dst, src)
	for range 100 {
		if _, err := from.Write([]byte("call")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(to, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
	}
}
