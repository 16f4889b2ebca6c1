package commands

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

var errDrainTimeout = errors.New("--drain-timeout is over")

// drainNotice is how long wstun goes on after the end of COMMAND before it says so: calls
// may end a moment after the process that made them.
const drainNotice = time.Second

// drain runs shutdown. That cuts the calls that take longer than timeout, which is logged
// and no error. If calls are open, the user at a terminal learns how long that may take,
// and, if the end of ctx is a signal, how to stop at once.
func (o *output) drain(ctx context.Context, timeout time.Duration, calls func() int, shutdown func(context.Context) error) {
	o.monitor.SetDraining()
	o.notifySystemd(daemon.SdNotifyStopping)
	o.draining(ctx, slog.LevelInfo, calls(), timeout)
	if o.command {
		defer time.AfterFunc(drainNotice, func() {
			if n := calls(); n > 0 {
				o.draining(ctx, slog.LevelWarn, n, timeout-drainNotice)
			}
		}).Stop()
	}
	limited, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), timeout, errDrainTimeout)
	defer cancel()
	if err := errors.Join(o.ready.remove(), shutdown(limited)); err != nil {
		o.logger.Warn("drain", slog.Any("err", err))
	}
}

// draining reports how many calls are open, and how long they may go on.
func (o *output) draining(ctx context.Context, level slog.Level, calls int, left time.Duration) {
	if o.lines == nil {
		o.logger.LogAttrs(ctx, level, "draining", slog.Int("calls", calls), slog.Duration("timeout", left))
	} else if calls > 0 {
		bySignal := !o.command && errors.Is(context.Cause(ctx), context.Canceled)
		o.lines.write(level, "", "draining", drainText(calls, left, bySignal))
	}
}

func drainText(calls int, timeout time.Duration, bySignal bool) string {
	text := fmt.Sprintf(": %d calls open, %v left", calls, timeout)
	if calls == 1 {
		text = fmt.Sprintf(": 1 call open, %v left", timeout)
	}
	if bySignal {
		text += "; press Ctrl-C again to stop now"
	}
	return text
}
