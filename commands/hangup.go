package commands

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// watchHangups has SIGHUP dial anew, where e dials, and end nothing, unless it
// comes because the terminal was closed: that ends the context that it returns,
// and further signals do what they do by default then. Under nohup it does
// nothing at all.
func (e *endpoint) watchHangups(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	if signal.Ignored(syscall.SIGHUP) {
		return ctx, cancel
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	redial := make(chan struct{}, 1)
	e.redial = redial
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
			default: // one waits already
			}
		}
	}()
	return ctx, func() {
		signal.Stop(hangups)
		cancel()
	}
}

// hasTerminal reports whether there is a terminal that can send signals, and
// that is not closed.
func hasTerminal() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	_ = tty.Close()
	return true
}
