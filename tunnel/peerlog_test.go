package tunnel

import (
	"bytes"
	"fmt"
	"log"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// newTestLog returns a log, and a function that returns the records since its last call.
func newTestLog() (l *peerLog, records func() []string) {
	var logged bytes.Buffer
	l = newPeerLog(slog.New(slog.NewTextHandler(&logged, nil)))
	return l, func() []string {
		lines := strings.Split(strings.TrimSpace(logged.String()), "\n")
		logged.Reset()
		if lines[0] == "" {
			return nil
		}
		return lines
	}
}

func TestPeerLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, records := newTestLog()
		flood := func(n int) {
			for i := range n {
				l.warn("refused", fmt.Sprintf("192.0.2.1:%d", i), "wrong token")
			}
		}
		flood(1000)
		if got := records(); len(got) != 1 {
			t.Errorf("%d records of a flood: %q", len(got), got)
		}
		l.warn("refused", "192.0.2.1:1", "wrong path")
		l.warn("refused", "192.0.2.2:1", "wrong token")
		l.warn("failed", "192.0.2.1:1", "wrong token")
		if got := records(); len(got) != 3 {
			t.Errorf("%d records with another reason, host and message: %q", len(got), got)
		}
		time.Sleep(repeatPeriod) //nolint:forbidigo // in a bubble
		flood(1000)
		if got := records(); len(got) != 1 || !strings.Contains(got[0], "left_out=999") {
			t.Errorf("after the period %q, want one record with left_out=999", got)
		}
	})
}

// A flood with many addresses and reasons is logged in bounded space, and doesn't hide
// another message.
func TestPeerLogIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, records := newTestLog()
		for range 3 {
			for i := range 10_000 {
				l.warn("refused", fmt.Sprintf("[2001:db8::%x]:1", i), "wrong token")
			}
			l.warn("refused", "192.0.2.1:1", "wrong path")
			if got := records(); len(got) != maxRepeats+2 || !strings.Contains(got[len(got)-2]+got[len(got)-1], "refused") {
				t.Errorf("%d records of a flood from many hosts and one other, want %d", len(got), maxRepeats+2)
			}
			for i := range 10_000 {
				l.warn("refused", fmt.Sprintf("[2001:db8::%x]:1", i), fmt.Sprintf("origin %d", i))
			}
			l.warn("failed", "192.0.2.1:1", "another message")
			if got := records(); len(got) > maxRepeats+1 || !strings.Contains(got[len(got)-1], "failed") {
				t.Errorf("%d records of a flood with many reasons, the last %q, want at most %d and another message", len(got), got[len(got)-1], maxRepeats+1)
			}
			if len(l.seen) > 2*maxRepeats+2 {
				t.Errorf("%d records are remembered", len(l.seen))
			}
			time.Sleep(repeatPeriod) //nolint:forbidigo // in a bubble
		}
	})
}

func TestServerLog(t *testing.T) {
	t.Parallel()
	l, records := newTestLog()
	errorLog := log.New(serverLog{l}, "", 0)
	for i := range 1000 {
		errorLog.Printf("http: TLS handshake error from 192.0.2.1:%d: EOF", i)
		errorLog.Printf("http: TLS handshake error from 192.0.2.1:%d: use of closed network connection", i)
	}
	errorLog.Printf("http: TLS handshake error from [2001:db8::1]:1: EOF")
	got := records()
	if len(got) != 2 || !strings.Contains(got[0], "192.0.2.1:0: EOF") || !strings.Contains(got[1], "[2001:db8::1]:1: EOF") {
		t.Errorf("%d records: %q", len(got), got)
	}
}
