package limit

import (
	"context"
	"errors"
	"slices"
	"testing"
)

const mib = 1 << 20

// newSession returns a session with 16 MiB, in which a message may have 4 MiB, of a process
// with the given memory.
func newSession(t *testing.T, memory int64) *Session {
	t.Helper()
	s := New(&Options{Memory: memory, SessionMemory: 16 * mib}).NewSession()
	t.Cleanup(s.Close)
	return s
}

// mustBe checks the bytes that count.
func mustBe(t *testing.T, s *Session, want int64) {
	t.Helper()
	s.process.mu.Lock()
	defer s.process.mu.Unlock()
	if s.messages != want || s.process.messages < want {
		t.Errorf("%d bytes count, in the process %d, want %d", s.messages, s.process.messages, want)
	}
}

// queue reserves bytes. The result says whether they are reserved.
func queue(s *Session, n int64, u use) (*waiter, func() bool) {
	reserved := false
	w := s.reserve(n, u, func() { reserved = true })
	return w, func() bool { return w == nil || reserved }
}

func TestReserveLeavesRoom(t *testing.T) {
	t.Parallel()
	s := newSession(t, 64*mib)
	_, first := queue(s, 4*mib, receiving)
	_, second := queue(s, 2*mib, receiving)
	_, third := queue(s, 1, receiving)
	s.charge(2 * mib) // buffers that are larger than their frames
	_, inflated := queue(s, 8*mib, decompressing)
	_, answer := queue(s, 1, answering)
	if !first() || !second() || third() || !inflated() || answer() {
		t.Errorf("reserved: %v %v %v, decompressing %v, answering %v", first(), second(), third(), inflated(), answer())
	}
	mustBe(t, s, 16*mib)
	s.charge(-4 * mib)
	if third() || !answer() {
		t.Errorf("after a release: third %v, answering %v", third(), answer())
	}
	s.charge(-8 * mib)
	if !third() {
		t.Error("the third request still waits")
	}
	mustBe(t, s, 4*mib+2)
}

func TestReserveKeepsOrder(t *testing.T) {
	t.Parallel()
	s := newSession(t, 64*mib)
	s.charge(16 * mib)
	var order []int64
	var waiters []*waiter
	for n := range int64(5) {
		waiters = append(waiters, s.reserve(n+1, answering, func() { order = append(order, n) }))
	}
	s.cancel(waiters[2])
	s.charge(-16 * mib)
	if !slices.Equal(order, []int64{0, 1, 3, 4}) {
		t.Errorf("order %v", order)
	}
	mustBe(t, s, 1+2+4+5)
	s.cancel(waiters[0]) // has its bytes
	mustBe(t, s, 2+4+5)
}

// A canceled waiter may have let a smaller one wait.
func TestCancelWakes(t *testing.T) {
	t.Parallel()
	s := newSession(t, 64*mib)
	s.charge(15 * mib)
	large, _ := queue(s, 2*mib, answering)
	_, small := queue(s, mib, answering)
	if small() {
		t.Fatal("overtakes")
	}
	if s.cancel(large); !small() {
		t.Error("still waits")
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	s := newSession(t, 64*mib)
	s.charge(16 * mib)
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("canceled")
	cancel(reason)
	if err := s.wait(ctx, 1, answering); !errors.Is(err, reason) {
		t.Errorf("wait = %v, want the cause", err)
	}
	s.charge(-16 * mib)
	if err := s.wait(ctx, 1, answering); !errors.Is(err, reason) {
		t.Errorf("wait = %v though it fits, want the cause", err)
	}
	mustBe(t, s, 0)
	s.charge(16 * mib)
	ended := make(chan error)
	go func() { ended <- s.wait(t.Context(), 1, answering) }()
	s.Close()
	if err := <-ended; !errors.Is(err, errClosed) {
		t.Errorf("wait = %v, want %v", err, errClosed)
	}
	if err := s.wait(t.Context(), 1, answering); !errors.Is(err, errClosed) {
		t.Errorf("wait after Close = %v, want %v", err, errClosed)
	}
	mustBe(t, s, 16*mib)
	s.Close()
	if s.process.sessions != 0 {
		t.Errorf("%d sessions", s.process.sessions)
	}
}

// When other sessions have taken the memory of the process, a session still has its share.
func TestShare(t *testing.T) {
	t.Parallel()
	s := newSession(t, 32*mib)
	others := []*Session{s.process.NewSession(), s.process.NewSession(), s.process.NewSession()}
	for _, other := range others {
		defer other.Close()
		other.charge(11 * mib)
	}
	_, first := queue(s, 2*mib, answering)
	_, second := queue(s, 1, answering)
	if !first() || second() {
		t.Errorf("reserved: share %v, more %v", first(), second())
	}
	if others[0].charge(-4 * mib); !second() {
		t.Error("still waits after another session has released memory")
	}
}

// The end of a session makes the shares of others larger.
func TestCloseWakes(t *testing.T) {
	t.Parallel()
	s := newSession(t, 32*mib)
	other := s.process.NewSession()
	for range 2 {
		full := s.process.NewSession()
		defer full.Close()
		full.charge(16 * mib)
	}
	_, reserved := queue(s, 2*mib+1, answering) // a quarter of the share of four
	if reserved() {
		t.Fatal("more than a share is reserved")
	}
	if other.Close(); !reserved() {
		t.Error("still waits")
	}
}

func TestProcessReserve(t *testing.T) {
	t.Parallel()
	p := New(&Options{Memory: 32 * mib})
	if !p.Reserve(16*mib) || p.Reserve(1) {
		t.Error("Reserve doesn't leave half")
	}
	p.Release(16 * mib)
	if !p.Reserve(1) {
		t.Error("Release doesn't release")
	}
}

func TestMaxMessage(t *testing.T) {
	t.Parallel()
	for memory, want := range map[int64]int{0: 64 * mib, 1024 * mib: 64 * mib, 100 * mib: 25 * mib} {
		s := New(&Options{SessionMemory: memory}).NewSession()
		defer s.Close()
		if got := s.MaxMessage(); got != want {
			t.Errorf("MaxMessage = %d with %d bytes for the session, want %d", got, memory, want)
		}
	}
}
