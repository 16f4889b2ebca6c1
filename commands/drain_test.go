package commands

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wstun/wstun/commands/monitor"
)

// After COMMAND, wstun says that it goes on only if it does so for longer than a moment.
func TestDrainAfterCommand(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		takes time.Duration
		want  string
	}{
		{drainNotice - time.Millisecond, ""},
		{drainNotice + time.Millisecond, "draining calls=2 timeout=29s"},
		{time.Hour, "draining calls=2 timeout=29s"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			o := &output{
				logger:  slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})),
				monitor: monitor.New(monitor.Info{}), command: true,
			}
			start := time.Now()
			o.drain(t.Context(), 30*time.Second, func() int { return 2 }, func(ctx context.Context) error {
				select {
				case <-time.After(test.takes):
				case <-ctx.Done():
				}
				return nil
			})
			if took, want := time.Since(start), min(test.takes, 30*time.Second); took != want {
				t.Errorf("took %v, want %v", took, want)
			}
			synctest.Wait()
			if got := log.String(); !strings.Contains(got, test.want) || (got != "") != (test.want != "") {
				t.Errorf("after %v, logged %q, want %q", test.takes, got, test.want)
			}
		})
	}
}
