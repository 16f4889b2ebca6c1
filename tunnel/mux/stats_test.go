package mux

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestStats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := pipePair(t, nil)
		a, b := streamPair(t, client, server)
		streamPair(t, server, client)
		if got := a.Stats(); got != (StreamStats{}) {
			t.Errorf("Stats() of a new stream = %+v, want nothing", got)
		}
		<-time.After(time.Minute)
		mustWrite(t, a, "four")
		mustWrite(t, a, "fifth")
		mustRead(t, b, "fourfifth")
		mustWrite(t, b, "x")
		synctest.Wait()
		now := time.Now()
		for s, want := range map[*Stream]StreamStats{
			a: {BytesSent: 9, FramesSent: 2, BytesReceived: 1, FramesReceived: 1, LastActivity: now},
			b: {BytesSent: 1, FramesSent: 1, BytesReceived: 9, FramesReceived: 2, LastActivity: now},
		} {
			if got := s.Stats(); got != want {
				t.Errorf("Stats() = %+v, want %+v", got, want)
			}
		}
		_ = a.Close()
		_ = b.Close()
		_ = client.GoAway()
		synctest.Wait()
		for s, want := range map[*Session]Stats{
			client: {BytesSent: 9, FramesSent: 2, BytesReceived: 1, FramesReceived: 1, Opened: 1, Accepted: 1, Streams: 1},
			server: {BytesSent: 1, FramesSent: 1, BytesReceived: 9, FramesReceived: 2, Opened: 1, Accepted: 1, Streams: 1, GoingAway: true},
		} {
			if got := s.Stats(); got != want {
				t.Errorf("Stats() = %+v, want %+v", got, want)
			}
		}
	})
}
