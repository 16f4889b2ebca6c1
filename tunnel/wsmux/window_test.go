package wsmux

import (
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/yamux"
)

func TestReceiveWindow(t *testing.T) {
	t.Parallel()
	const rtt = time.Second
	for _, tc := range []struct {
		name  string
		size  uint32
		since time.Duration // since the last grant
		grown int64         // by all windows of the session
		read  int
		grant uint32
		to    uint32
	}{
		{"little read", initialWindow, 0, 0, initialWindow/2 - 1, 0, initialWindow},
		{"half read within a round trip", initialWindow, rtt, 0, initialWindow / 2, initialWindow * 3 / 2, 2 * initialWindow},
		{"all read within a round trip", initialWindow, rtt, 0, initialWindow, 2 * initialWindow, 2 * initialWindow},
		{"half read, slowly", initialWindow, 3 * rtt, 0, initialWindow / 2, initialWindow / 2, initialWindow},
		{"at its largest", maxWindow, 0, 0, maxWindow / 2, maxWindow / 2, maxWindow},
		{"others have grown", initialWindow, 0, maxGrown, initialWindow, initialWindow, initialWindow},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := &Session{t: &transport{}}
			s.t.leastRoundTrip.Store(int64(rtt))
			s.grown.Store(tc.grown)
			w := receiveWindow{size: tc.size, room: tc.size, unspent: tc.size, since: time.Now().Add(-tc.since)}
			if err := w.arrived(tc.read); err != nil {
				t.Fatal(err)
			}
			if grant := w.consumed(s, tc.read); grant != tc.grant || w.size != tc.to {
				t.Errorf("consumed(%d) = %d and the size is %d, want %d and %d", tc.read, grant, w.size, tc.grant, tc.to)
			}
			if want := tc.size - uint32(tc.read) + tc.grant; w.room != want {
				t.Errorf("the peer may send %d more, want %d", w.room, want)
			}
			if got, want := s.grown.Load()-tc.grown, int64(tc.to-tc.size); got != want {
				t.Errorf("the session's windows have grown by %d, want %d", got, want)
			}
		})
	}
}

func TestFixedReceiveWindow(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	w := newReceiveWindow(size)
	_ = w.arrived(size)
	if grant := w.consumed(&Session{t: &transport{}}, size); grant != size || w.size != size {
		t.Errorf("consumed = %d and the size is %d, want both to be %d", grant, w.size, size)
	}
}

func TestReceiveWindowIsExceeded(t *testing.T) {
	t.Parallel()
	w := newReceiveWindow(0)
	if err := w.arrived(initialWindow); err != nil {
		t.Fatal(err)
	}
	if err := w.arrived(1); !errors.Is(err, yamux.ErrRecvWindowExceeded) {
		t.Errorf("arrival of more than was granted = %v", err)
	}
}
