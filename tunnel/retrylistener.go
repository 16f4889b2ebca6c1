package tunnel

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/wstun/wstun/tunnel/netdiag"
)

const (
	// firstAcceptPause and maxAcceptPause are the shortest and the longest pause after
	// a temporary error of Accept.
	firstAcceptPause = 5 * time.Millisecond
	maxAcceptPause   = time.Second

	// acceptRecovery is how long Accept must not have failed before the same error is
	// logged again: at the limit of open files, Accept fails and succeeds in turn.
	acceptRecovery = 10 * time.Second
)

// RetryAccept returns a listener whose Accept doesn't return the temporary errors of l,
// such as too many open files, but tries again: after 5 ms, and at intervals that double
// up to one second. Close ends such a pause. Only one goroutine may call Accept. logger
// logs each reason once, at warn level, and again after ten seconds without one; nil
// discards it.
func RetryAccept(l net.Listener, logger *slog.Logger) net.Listener {
	return newRetryListener(l, logger, func() bool { return false })
}

// retryListener is the listener of RetryAccept.
type retryListener struct {
	net.Listener
	logger  *slog.Logger
	release func() bool // closes a connection that is of less use than a new one; false if there is none

	closeOnce sync.Once
	closed    chan struct{}

	pause   time.Duration // the last one; 0 after a success
	failed  time.Time     // when Accept last failed
	failure netdiag.Failure
}

func newRetryListener(l net.Listener, logger *slog.Logger, release func() bool) *retryListener {
	return &retryListener{Listener: l, logger: orDiscard(logger), release: release, closed: make(chan struct{})}
}

func (l *retryListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err == nil {
			l.pause = 0
			return conn, nil
		}
		if ne, ok := errors.AsType[net.Error](err); !ok || !ne.Temporary() { //nolint:staticcheck // as net/http's server does; nothing replaces it here
			return nil, err
		}
		if (netdiag.Is(err, syscall.EMFILE) || netdiag.Is(err, syscall.ENFILE)) && l.release() {
			continue
		}
		l.log(err)
		l.pause = min(max(2*l.pause, firstAcceptPause), maxAcceptPause)
		select {
		case <-time.After(l.pause):
		case <-l.closed:
		}
	}
}

func (l *retryListener) log(err error) {
	now := time.Now()
	if now.Sub(l.failed) > acceptRecovery {
		l.failure.Clear()
	}
	l.failed = now
	if err = netdiag.Cause(err); l.failure.IsNew(err) {
		l.logger.Warn("accept: will retry", slog.String("address", l.Addr().String()), slog.Any("err", err))
	}
}

// Close implements net.Listener.
func (l *retryListener) Close() error {
	l.closeOnce.Do(func() { close(l.closed) })
	return l.Listener.Close()
}
