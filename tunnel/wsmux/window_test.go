package wsmux

import (
	"testing"
	"time"
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
			w := receiveWindow{size: tc.size, granted: tc.size, since: time.Now().Add(-tc.since)}
			grant, err := w.read(s, tc.read)
			if grant != tc.grant || w.size != tc.to || err != nil {
				t.Errorf("read(%d) = %d, %v and the size is %d, want %d and %d", tc.read, grant, err, w.size, tc.grant, tc.to)
			}
			if got, want := s.grown.Load()-tc.grown, int64(tc.to-tc.size); got != want {
				t.Errorf("the session's windows have grown by %d, want %d", got, want)
			}
		})
	}
}

func TestReceiveWindowIsExceeded(t *testing.T) {
	t.Parallel()
	w := receiveWindow{size: initialWindow, granted: initialWindow}
	if _, err := w.read(&Session{}, initialWindow+1); err == nil {
		t.Error("read of more than was granted = nil error")
	}
}
