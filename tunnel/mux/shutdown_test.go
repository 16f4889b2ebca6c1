package mux

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
)

// AnnounceGoAway still accepts streams; after GoAway they are refused.
func TestAnnounceGoAway(t *testing.T) {
	t.Parallel()
	s, p := startWithRawPeer(t, Server, nil)
	s.AnnounceGoAway()
	p.expect(typeGoAway, 0, 0, goAwayNormal)
	p.send(typeWindowUpdate, flagSYN, 1, 0)
	stream, err := s.Accept()
	if err != nil {
		t.Fatal(err)
	}
	p.expect(typeWindowUpdate, flagACK, 1, 0)
	if err := s.GoAway(); err != nil {
		t.Fatal(err)
	}
	p.expect(typeGoAway, 0, 0, goAwayNormal)
	p.send(typeWindowUpdate, flagSYN, 3, 0)
	p.expect(typeWindowUpdate, flagRST, 3, 0)
	p.sendData(0, 1, "still open")
	mustRead(t, stream, "still open")
}

func TestShutdown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := pipePair(t, nil)
		a, b := streamPair(t, client, server)
		waiting, err := client.Open(t.Context()) // not accepted
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		done := make(chan error, 2)
		for range 2 {
			go func() { done <- server.Shutdown(t.Context()) }()
		}
		synctest.Wait()
		if _, err := server.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept = %v, want net.ErrClosed", err)
		}
		if _, err := waiting.Read(make([]byte, 1)); !errors.Is(err, ErrReset) {
			t.Errorf("Read of a stream that waits to be accepted = %v, want ErrReset", err)
		}
		mustWrite(t, a, "still open")
		mustRead(t, b, "still open")
		if len(done) > 0 {
			t.Errorf("Shutdown = %v with a stream open, want it to block", <-done)
		}
		_ = b.Close()
		for range 2 {
			if err := <-done; err != nil {
				t.Errorf("Shutdown = %v, want nil", err)
			}
		}
		if err := server.Err(); !errors.Is(err, ErrShutdown) {
			t.Errorf("Err() = %v, want ErrShutdown", err)
		}
		if err := server.Shutdown(t.Context()); err != nil {
			t.Errorf("second Shutdown = %v, want nil", err)
		}
	})
}

func TestShutdownEndsWithItsContext(t *testing.T) {
	t.Parallel()
	client, server := sessionPair(t, nil)
	a, _ := streamPair(t, client, server)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("cause")
	cancel(cause)
	if err := server.Shutdown(ctx); !errors.Is(err, cause) {
		t.Errorf("Shutdown = %v, want the cause of its context", err)
	}
	if _, err := a.Read(make([]byte, 1)); err == nil {
		t.Error("the peer's stream is still open after Shutdown")
	}
	if err := server.Err(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Err() = %v, want net.ErrClosed", err)
	}
}
