package commands

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel"
)

// readyTimeout is the value of --ready-timeout; 0: no limit.
type readyTimeout time.Duration

func (d *readyTimeout) flag() cli.Flag {
	return usage.Duration((*time.Duration)(d), "ready-timeout", "give up if no session is up, dialed or accepted, within `DURATION` after the start; 0 for never", 0)
}

func (d readyTimeout) check() error { return usage.NotNegative("ready-timeout", time.Duration(d)) }

// apply ends the command of o if sessions has no session in time. It returns at once.
func (d readyTimeout) apply(ctx context.Context, o *output, sessions *tunnel.Sessions) {
	if d == 0 {
		return
	}
	timer := time.NewTimer(time.Duration(d))
	go func() {
		defer timer.Stop()
		select {
		case <-sessions.Ready():
		case <-ctx.Done():
		case <-timer.C:
			o.fail(&readyTimeoutError{d, o.retryReason()})
		}
	}()
}

// readyTimeoutError reports that no session was up in time.
type readyTimeoutError struct {
	timeout readyTimeout
	reason  error // of the last failure to dial; may be nil
}

func (e *readyTimeoutError) Error() string {
	text := fmt.Sprintf("no session within --ready-timeout %v", time.Duration(e.timeout))
	if e.reason != nil {
		text += ": " + e.reason.Error()
	}
	return text
}

// Unwrap returns tunnel.ErrNoSession and the reason.
func (e *readyTimeoutError) Unwrap() []error {
	if e.reason == nil {
		return []error{tunnel.ErrNoSession}
	}
	return []error{tunnel.ErrNoSession, e.reason}
}
