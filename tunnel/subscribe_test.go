package tunnel

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// subscriber records the calls of its functions.
type subscriber struct {
	t    *testing.T
	mu   sync.Mutex
	up   []uint64          // IDs, in the order of the calls
	down map[uint64]error  // reasons
	call func(id uint64)   // called by Up, if set
	stop func()            // returned by Subscribe
	ups  map[uint64]string // "begun" or "returned"
}

// subscribe subscribes to ss. A wrong call of Up or Down fails the test.
func subscribe(t *testing.T, ss *Sessions, call func(id uint64)) *subscriber {
	t.Helper()
	n := &subscriber{t: t, down: map[uint64]error{}, call: call, ups: map[uint64]string{}}
	n.stop = ss.Subscribe(Subscriber{n.onUp, n.onDown})
	return n
}

func (n *subscriber) onUp(s *Session) {
	n.mu.Lock()
	if n.ups[s.ID] != "" {
		n.t.Errorf("Up of session %d was called twice", s.ID)
	}
	n.up = append(n.up, s.ID)
	n.ups[s.ID] = "begun"
	n.mu.Unlock()
	if n.call != nil {
		n.call(s.ID)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ups[s.ID] = "returned"
}

func (n *subscriber) onDown(s *Session, reason error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ups[s.ID] != "returned" {
		n.t.Errorf("Down of session %d was called when Up had %q", s.ID, n.ups[s.ID])
	}
	if _, ok := n.down[s.ID]; ok {
		n.t.Errorf("Down of session %d was called twice", s.ID)
	}
	n.down[s.ID] = reason
}

// calls returns the IDs for which Up and Down were called.
func (n *subscriber) calls() (up, down []uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, id := range n.up {
		if _, ok := n.down[id]; ok {
			down = append(down, id)
		}
	}
	return slices.Clone(n.up), down
}

// want fails the test unless Up and Down were called for exactly these sessions.
func (n *subscriber) want(name string, wantUp, wantDown []uint64) {
	n.t.Helper()
	if up, down := n.calls(); !slices.Equal(up, wantUp) || !slices.Equal(down, wantDown) {
		n.t.Errorf("%s: Up of %d, Down of %d, want %d, %d", name, up, down, wantUp, wantDown)
	}
}

func TestSubscribe(t *testing.T) {
	t.Parallel()
	ss := &Sessions{}
	early := subscribe(t, ss, nil)
	ss.Subscribe(Subscriber{}) // its functions are nil
	var sessions []*Session
	before := time.Now()
	for range 3 {
		client, _ := sessionPair(t)
		sessions = append(sessions, ss.Add(client, ""))
	}
	if since := sessions[0].Since; since.Before(before) || since.After(sessions[1].Since) {
		t.Errorf("Since = %v, want the time of Add", since)
	}
	if got := ss.Snapshot(); !slices.Equal(got, sessions) {
		t.Errorf("Snapshot = %v, want %v", got, sessions)
	}
	_ = sessions[1].Close()
	tunneltest.Await(t, "the end", sessions[1].downDone)
	late := subscribe(t, ss, nil)
	early.want("early", []uint64{1, 2, 3}, []uint64{2})
	late.want("late", []uint64{1, 3}, nil)
	if got := ss.Snapshot(); !slices.Equal(got, []*Session{sessions[0], sessions[2]}) {
		t.Errorf("Snapshot = %v, want the first and the third", got)
	}

	early.stop()
	early.stop()
	client, _ := sessionPair(t)
	ss.Add(client, "")
	if err := ss.Shutdown(tunneltest.Soon(t)); err != nil {
		t.Errorf("Shutdown = %v", err)
	}
	early.want("stopped", []uint64{1, 2, 3}, []uint64{2})
	late.want("late", []uint64{1, 3, 4}, []uint64{1, 3, 4})
	if got := ss.Snapshot(); len(got) > 0 {
		t.Errorf("Snapshot = %v after Shutdown", got)
	}
	subscribe(t, ss, nil).want("after Shutdown", nil, nil)
}

// For a session that ends during Subscribe before its Up, neither Up nor Down is called.
func TestSubscribeSkipsEnded(t *testing.T) {
	t.Parallel()
	ss := newSessions(t)
	client, _ := sessionPair(t)
	ss.Add(client, "")
	client, _ = sessionPair(t)
	second := ss.Add(client, "")
	n := subscribe(t, ss, func(uint64) {
		_ = second.Close()
		tunneltest.Await(t, "the end", second.downDone)
	})
	n.want("subscriber", []uint64{1}, nil)
}

// A retired session counts as up until it has ended.
func TestSnapshotIncludesRetired(t *testing.T) {
	t.Parallel()
	ss := newSessions(t)
	client, _ := sessionPair(t)
	s := ss.Add(client, "")
	ss.retire(s, errors.New("going away"))
	if got := ss.Snapshot(); !slices.Equal(got, []*Session{s}) {
		t.Errorf("Snapshot = %v, want %v", got, s)
	}
	subscribe(t, ss, nil).want("subscriber", []uint64{1}, nil)
}

// The functions of a Subscriber may call methods of the set.
func TestSubscriberCallsTheSet(t *testing.T) {
	t.Parallel()
	ss := newSessions(t)
	first, _ := sessionPair(t)
	ss.Add(first, "")
	var inner []*subscriber // one from each call
	var stop func()
	call := func() {
		inner = append(inner, subscribe(t, ss, nil))
		ss.Snapshot()
		ss.SetDownReason(errors.New("reason"))
		_, _ = ss.Wait(tunneltest.Ended())
		subscribe(t, ss, nil).stop()
		if stop != nil {
			stop()
		}
	}
	stop = ss.Subscribe(Subscriber{Up: func(*Session) { call() }})
	inner[0].want("subscribed in Up, in Subscribe", []uint64{1}, nil)

	ss.Subscribe(Subscriber{Down: func(*Session, error) { call() }})
	second, _ := sessionPair(t)
	s := ss.Add(second, "") // calls stop
	inner[1].want("subscribed in Up, in Add", []uint64{1, 2}, nil)
	_ = s.Close()
	tunneltest.Await(t, "the end", s.downDone)
	inner[2].want("subscribed in Down", []uint64{1}, nil)
	inner[1].want("subscribed in Up, in Add", []uint64{1, 2}, []uint64{2})
	third, _ := sessionPair(t)
	ss.Add(third, "")
	if len(inner) != 3 {
		t.Errorf("%d calls, want 3: stop was called", len(inner))
	}
}

// Down is called after the Up of a late subscriber has returned, even if the session
// ends during that Up.
func TestDownWaitsForUp(t *testing.T) { //nolint:paralleltest // a bubble
	tunneltest.KeepTimersApart(t)
	synctest.Test(t, func(t *testing.T) {
		dialed, accepted := tunneltest.PipedWebSockets(t)
		go func() { // the peer
			defer accepted.Close()
			for {
				if _, _, err := accepted.ReadMessage(); err != nil {
					return
				}
			}
		}()
		client, err := wsmux.NewSession(dialed, wsmux.Dialing, wsmux.Client, &wsmux.Options{PingInterval: -1, PingTimeout: -1})
		if err != nil {
			t.Fatal(err)
		}
		ss := &Sessions{}
		early := subscribe(t, ss, nil)
		s := ss.Add(client, "")
		late := subscribe(t, ss, func(uint64) {
			_ = s.Close()
			synctest.Wait() // until all other goroutines are blocked
			select {
			case <-s.downDone:
				t.Error("Down was called before Up had returned")
			default:
			}
			subscribe(t, ss, nil).want("subscribed after the end", nil, nil)
		})
		<-s.downDone
		early.want("early", []uint64{1}, []uint64{1})
		late.want("late", []uint64{1}, []uint64{1})
		_ = ss.Shutdown(tunneltest.Ended())
	})
}

// stop doesn't wait for an Up that has begun, and prevents the call of Down.
func TestStopDuringUp(t *testing.T) {
	t.Parallel()
	ss := newSessions(t)
	begun, finish := make(chan struct{}), make(chan struct{})
	n := subscribe(t, ss, func(uint64) {
		close(begun)
		<-finish
	})
	client, _ := sessionPair(t)
	added := make(chan *Session, 1)
	go func() { added <- ss.Add(client, "") }()
	tunneltest.Await(t, "Up", begun)
	n.stop()
	if _, err := ss.Wait(tunneltest.Ended()); !errors.Is(err, ErrNoSession) {
		t.Errorf("Wait = %v before Up has returned", err)
	}
	close(finish)
	s := tunneltest.Await(t, "Add", added)
	_ = s.Close()
	tunneltest.Await(t, "the end", s.downDone)
	n.want("stopped", []uint64{1}, nil)
}

// With concurrent Subscribe, Add and Close, Up and Down are called once for each
// session.
func TestSubscribeRaces(t *testing.T) {
	t.Parallel()
	const sessions, subscribers = 24, 40
	ss := &Sessions{}
	first := subscribe(t, ss, nil)
	var wg sync.WaitGroup
	for i := range sessions {
		client, server := sessionPair(t)
		wg.Go(func() {
			s := ss.Add(client, "")
			if i%2 == 0 {
				_ = s.Close()
			} else {
				_ = server.Close()
			}
		})
	}
	late := make([]*subscriber, subscribers)
	for i := range late {
		wg.Go(func() {
			n := subscribe(t, ss, nil)
			late[i] = n
			for _, s := range ss.Snapshot() {
				n.mu.Lock()
				if n.ups[s.ID] != "returned" && s.Err() == nil {
					t.Errorf("session %d is up, and Up has %q", s.ID, n.ups[s.ID])
				}
				n.mu.Unlock()
			}
			if i%4 == 0 {
				n.stop()
			}
		})
	}
	wg.Wait()
	if err := ss.Shutdown(tunneltest.Soon(t)); err != nil {
		t.Errorf("Shutdown = %v", err)
	}
	if up, down := first.calls(); len(up) != sessions || len(down) != sessions {
		t.Errorf("Up of %d sessions, Down of %d, want %d", len(up), len(down), sessions)
	}
	for i, n := range late {
		if up, down := n.calls(); i%4 != 0 && len(down) != len(up) {
			t.Errorf("subscriber %d: Up of %d, Down of %d", i, up, down)
		}
	}
	for _, n := range ss.subscriptions {
		if len(n.up) > 0 {
			t.Errorf("a subscription still has %d ended sessions", len(n.up))
		}
	}
}

func TestSessionsOpen(t *testing.T) {
	t.Parallel()
	ss := newSessions(t)
	if _, _, err := ss.Open(t.Context(), -1); !errors.Is(err, ErrNoSession) || err.Error() != "no session: none established yet" {
		t.Errorf("Open without a session = %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("reason")
	cancel(reason)
	if _, _, err := ss.Open(ctx, time.Hour); !errors.Is(err, ErrNoSession) || !errors.Is(err, reason) {
		t.Errorf("Open when ctx has ended = %v, want %v", err, reason)
	}

	result := make(chan *Session, 1)
	ready := ss.Ready()
	go func() {
		_, s, err := ss.Open(tunneltest.Soon(t), time.Hour)
		if err != nil {
			t.Errorf("Open = %v", err)
		}
		result <- s
	}()
	client, _ := sessionPair(t)
	first := ss.Add(client, "")
	tunneltest.Await(t, "Ready", ready)
	tunneltest.Await(t, "Ready with a session up", ss.Ready())
	if s := tunneltest.Await(t, "Open", result); s != first {
		t.Errorf("Open = a stream on %v, want %v", s, first)
	}

	client, server := sessionPair(t)
	second := ss.Add(client, "")
	if err := server.GoAway(); err != nil {
		t.Fatal(err)
	}
	for s := second; s == second; { // until GoAway has arrived
		stream, on, err := ss.Open(tunneltest.Soon(t), -1)
		if err != nil {
			t.Fatal(err)
		}
		_ = stream.Close()
		s = on
	}
	if second.Err() != nil {
		t.Errorf("Err() of the session whose peer is going away = %v, want nil", second.Err())
	}
	_ = ss.Shutdown(tunneltest.Ended())
	tunneltest.Await(t, "Ready after Shutdown", ss.Ready())
	if _, _, err := ss.Open(tunneltest.Soon(t), time.Hour); !errors.Is(err, ErrNoSession) || !errors.Is(err, ErrShuttingDown) {
		t.Errorf("Open after Shutdown = %v, want %v", err, ErrShuttingDown)
	}
}

func TestSessionAfterReplace(t *testing.T) {
	t.Parallel()
	ss := newSessions(t)
	client, _ := sessionPair(t)
	s := ss.Add(client, "")
	replaced, stopped := make(chan struct{}), make(chan struct{})
	s.AfterReplace(func() { close(replaced) })
	if stop := s.AfterReplace(func() { close(stopped) }); !stop() || stop() {
		t.Error("stop = false the first time or true the second time")
	}
	ss.replace(t.Context(), s, 0, -1)
	tunneltest.Await(t, "AfterReplace", replaced)
	tunneltest.Await(t, "the end", s.downDone)
	select {
	case <-stopped:
		t.Error("a stopped function was called")
	default:
	}
}
