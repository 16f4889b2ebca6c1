package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

func TestSessionsNewestWins(t *testing.T) {
	t.Parallel()
	ss := newSessions(t)
	oldClient, oldServer := sessionPair(t)
	newClient, newServer := sessionPair(t)
	first := ss.Add(oldClient, "a")
	stream, err := first.Open(tunneltest.Soon(t))
	if err != nil {
		t.Fatal(err)
	}
	second := ss.Add(newClient, "b")
	if first.ID != 1 || second.ID != 2 || first.Remote != "a" || second.Remote != "b" {
		t.Errorf("IDs %d, %d, remotes %q, %q, want 1, 2, a, b", first.ID, second.ID, first.Remote, second.Remote)
	}
	if got, err := ss.Wait(tunneltest.Soon(t)); got != second || err != nil {
		t.Errorf("Wait = %v, %v, want the newest", got, err)
	}
	// The older session's streams still work.
	in, err := oldServer.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(stream, "hello"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 5)
	if _, err := io.ReadFull(in, buf); err != nil || string(buf) != "hello" {
		t.Errorf("read %q, %v from the older session's stream, want hello", buf, err)
	}
	// Wait returns the older session again when the newer one has ended.
	_ = newServer.Close()
	tunneltest.Await(t, "the newer one's end", second.Done())
	for {
		got, err := ss.Wait(tunneltest.Soon(t))
		if err != nil {
			t.Fatal(err)
		}
		if got == first {
			return
		}
	}
}

func TestSessionsWait(t *testing.T) {
	t.Parallel()
	reason := errors.New("reason")
	ss := newSessions(t)
	for _, test := range []struct {
		downReason error
		want       string
	}{
		{nil, "no session: none established yet"},
		{reason, "no session: reason"},
	} {
		ss.SetDownReason(test.downReason)
		_, err := ss.Wait(tunneltest.Ended())
		if !errors.Is(err, ErrNoSession) || err.Error() != test.want {
			t.Errorf("Wait = %v, want %s", err, test.want)
		}
		if test.downReason != nil && !errors.Is(err, test.downReason) {
			t.Errorf("Wait = %v, want one that is %v", err, test.downReason)
		}
	}

	result := make(chan *Session, 2)
	for range 2 {
		go func() {
			s, _ := ss.Wait(tunneltest.Soon(t))
			result <- s
		}()
	}
	client, server := sessionPair(t)
	s := ss.Add(client, "")
	for range 2 {
		if got := tunneltest.Await(t, "Wait", result); got != s {
			t.Errorf("Wait = %v, want the session that was added", got)
		}
	}
	server.CloseWithError(errors.New("bye"))
	tunneltest.Await(t, "the end", s.Done())
	for {
		_, err := ss.Wait(tunneltest.Ended())
		if err == nil {
			continue // watch hasn't retired s yet
		}
		if want := "no session: websocket: close 1011 (internal server error): bye"; err.Error() != want {
			t.Errorf("Wait = %v, want %s", err, want)
		}
		return
	}
}

func TestSessionsUpAndDown(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var events []string
	note := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, fmt.Sprintf(format, args...))
	}
	ss := &Sessions{}
	ss.Subscribe(Subscriber{
		Up:   func(s *Session) { note("up %d", s.ID) },
		Down: func(s *Session, reason error) { note("down %d %v", s.ID, errors.Is(reason, net.ErrClosed)) },
	})
	for range 3 {
		client, _ := sessionPair(t)
		s := ss.Add(client, "")
		_ = s.Close()
		_ = s.Close()
	}
	client, _ := sessionPair(t)
	ss.Add(client, "")
	if err := ss.Shutdown(tunneltest.Soon(t)); err != nil {
		t.Errorf("Shutdown = %v", err)
	}
	for id := 1; id <= 4; id++ {
		up, down := fmt.Sprintf("up %d", id), fmt.Sprintf("down %d true", id)
		if i, j := slices.Index(events, up), slices.Index(events, down); i < 0 || j < i {
			t.Errorf("events %q: %q is at %d, %q at %d", events, up, i, down, j)
		}
	}
	if len(events) != 8 {
		t.Errorf("events %q, want 8", events)
	}
}

func TestSessionsShutdown(t *testing.T) {
	t.Parallel()
	ss := newSessions(t)
	client, server := sessionPair(t)
	s := ss.Add(client, "")
	stream, err := s.Open(tunneltest.Soon(t))
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	go func() { result <- ss.Shutdown(tunneltest.Soon(t)) }()
	if _, err := server.Accept(); err != nil {
		t.Fatal(err)
	}
	for { // until Shutdown has begun
		if _, err := ss.Wait(tunneltest.Soon(t)); errors.Is(err, ErrNoSession) {
			if want := "no session: shutting down"; err.Error() != want {
				t.Errorf("Wait = %v, want %s", err, want)
			}
			break
		}
	}
	select {
	case <-s.Done():
		t.Fatal("ended with a stream open")
	case err := <-result:
		t.Fatalf("Shutdown = %v with a stream open", err)
	default:
	}
	_ = stream.Close()
	if err := tunneltest.Await(t, "Shutdown", result); err != nil {
		t.Errorf("Shutdown = %v", err)
	}
	late, _ := sessionPair(t)
	if s := ss.Add(late, ""); s != nil {
		t.Error("Add after Shutdown = a session, want nil")
	}
	tunneltest.Await(t, "the late one's end", late.Done())
}

func TestSessionsShutdownCuts(t *testing.T) {
	t.Parallel()
	ss := newSessions(t)
	client, _ := sessionPair(t)
	s := ss.Add(client, "")
	if _, err := s.Open(tunneltest.Soon(t)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := ss.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown = %v, want a timeout", err)
	}
}

// Shutdown also ends a session that is retired.
func TestSessionsShutdownRetired(t *testing.T) {
	t.Parallel()
	ss := newSessions(t)
	client, _ := sessionPair(t)
	s := ss.Add(client, "")
	if _, err := s.Open(tunneltest.Soon(t)); err != nil {
		t.Fatal(err)
	}
	ss.retire(s, errors.New("going away"))
	if _, err := ss.Wait(tunneltest.Ended()); err == nil || err.Error() != "no session: going away" {
		t.Errorf("Wait = %v, want no session: going away", err)
	}
	result := make(chan error, 1)
	go func() { result <- ss.Shutdown(tunneltest.Ended()) }()
	if err := tunneltest.Await(t, "Shutdown", result); err == nil {
		t.Error("Shutdown = nil with a stream open, want an error")
	}
}

func TestSessionsAddRacesShutdown(t *testing.T) {
	t.Parallel()
	for range 20 {
		var mu sync.Mutex
		up := 0
		count := func(n int) {
			mu.Lock()
			defer mu.Unlock()
			up += n
		}
		ss := &Sessions{}
		ss.Subscribe(Subscriber{Up: func(*Session) { count(1) }, Down: func(*Session, error) { count(-1) }})
		clients := make([]*wsmux.Session, 3)
		for i := range clients {
			clients[i], _ = sessionPair(t)
		}
		var wg sync.WaitGroup
		for _, client := range clients {
			wg.Go(func() { ss.Add(client, "") })
		}
		wg.Go(func() { _ = ss.Shutdown(tunneltest.Soon(t)) })
		wg.Wait()
		if err := ss.Shutdown(tunneltest.Soon(t)); err != nil {
			t.Errorf("second Shutdown = %v", err)
		}
		for _, client := range clients {
			tunneltest.Await(t, "the end of each", client.Done())
		}
		if up != 0 {
			t.Errorf("Up was called %d times more than Down", up)
		}
	}
}
