package inspect

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wstun/wstun/commands/monitor"
)

func TestSampler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in := int64(100)
		ended := time.Now()
		s := NewSampler(func() []monitor.Session {
			in += 10
			return []monitor.Session{
				{ID: 1, State: "down", Ended: &ended, Reason: "reset", CloseCode: 1013},
				{ID: 2, State: "up", Bytes: monitor.Bytes{In: in, Out: 2 * in}, RoundTrip: 1.5},
			}
		})
		defer s.Close()
		<-time.After(3*sampleInterval + time.Millisecond)
		sessions := s.Sessions()
		if len(sessions) != 2 || sessions[0].Ended != ended.UnixMilli() || sessions[0].CloseCode != 1013 {
			t.Fatalf("%+v", sessions)
		}
		if up := sessions[1]; up.Rate != (Bytes{In: 20, Out: 40}) || !slices.Equal(up.Rates, []int64{30, 30, 30}) || up.RTT != 1.5 {
			t.Errorf("%+v, want 10 and 20 bytes more in each half second", up)
		}
		<-time.After(100 * sampleInterval)
		if n := len(s.Sessions()[1].Rates); n != maxSamples {
			t.Errorf("%d samples, want %d", n, maxSamples)
		}
	})
}
