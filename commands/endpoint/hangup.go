package endpoint

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// WatchHangups makes SIGHUP dial again at once, if e dials, instead of ending the
// process. If the terminal was closed, SIGHUP ends the returned context, and further
// signals have their default effect. Under nohup nothing changes.
func (e *Endpoint) WatchHangups(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	if signal.Ignored(syscall.SIGHUP) {
		return ctx, cancel
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	redial := make(chan struct{}, 1)
	e.Redial = redial
	terminal := hasTerminal()
	go func() {
		for {
			select {
			case <-hangups:
			case <-ctx.Done():
				return
			}
			if terminal && !hasTerminal() {
				signal.Reset(syscall.SIGHUP, os.Interrupt, syscall.SIGTERM)
				cancel()
				return
			}
			select {
			case redial <- struct{}{}:
			default: // one is waiting already
			}
		}
	}()
	return ctx, func() {
		signal.Stop(hangups)
		cancel()
	}
}

// hasTerminal reports whether the process has a controlling terminal.
func hasTerminal() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	_ = tty.Close()
	return true
}
