package tunnel

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// scriptedListener returns the results of accept.
type scriptedListener struct {
	net.Listener // nil
	accept       func() (net.Conn, error)
}

func (l *scriptedListener) Accept() (net.Conn, error) { return l.accept() }
func (l *scriptedListener) Close() error              { return nil }
func (l *scriptedListener) Addr() net.Addr            { return &net.TCPAddr{} }

func acceptError(errno syscall.Errno) error {
	return &net.OpError{Op: "accept", Net: "tcp", Err: errno}
}

func TestRetryAccept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		conn, other := net.Pipe()
		defer conn.Close()
		defer other.Close()
		var errs []error
		inner := &scriptedListener{accept: func() (net.Conn, error) {
			if len(errs) == 0 {
				return conn, nil
			}
			err := errs[0]
			errs = errs[1:]
			return nil, err
		}}
		l := RetryAccept(inner, slog.New(slog.NewTextHandler(&logged, nil)))
		full, interrupted := acceptError(syscall.EMFILE), acceptError(syscall.EINTR)
		for _, test := range []struct {
			errs  []error
			takes time.Duration
			logs  int // records
		}{
			{nil, 0, 0},
			{[]error{full}, 5 * time.Millisecond, 1},
			{[]error{full, full, full, full, full, full, full, full, full, full}, (5+10+20+40+80+160+320+640)*time.Millisecond + 2*time.Second, 0},
			{[]error{full}, 5 * time.Millisecond, 0}, // it succeeded too short a time ago
			{[]error{interrupted}, 5 * time.Millisecond, 1},
			{[]error{full}, 5 * time.Millisecond, 1},
		} {
			logged.Reset()
			errs = test.errs
			start := time.Now()
			if got, err := l.Accept(); got != conn || err != nil {
				t.Fatalf("Accept = %v, %v", got, err)
			}
			if took := time.Since(start); took != test.takes {
				t.Errorf("%d errors: Accept took %v, want %v", len(test.errs), took, test.takes)
			}
			if n := strings.Count(logged.String(), "\n"); n != test.logs {
				t.Errorf("%d errors: logged %d records, want %d:\n%s", len(test.errs), n, test.logs, &logged)
			}
		}
		time.Sleep(acceptRecovery + time.Second) //nolint:forbidigo // in a bubble
		logged.Reset()
		errs = []error{full}
		_, _ = l.Accept()
		if !strings.Contains(logged.String(), `msg="accept: will retry" address=:0 err="too many open files"`) {
			t.Errorf("after the recovery, logged %q", &logged)
		}

		final := errors.New("final")
		errs = []error{full, full, full, full, full, full, full, full, full, full, final}
		ended := make(chan error, 1)
		go func() {
			_, err := l.Accept()
			ended <- err
		}()
		synctest.Wait()
		start := time.Now()
		_ = l.Close()
		if err := <-ended; !errors.Is(err, final) || time.Since(start) > 0 {
			t.Errorf("Accept = %v, %v after Close, want the final error at once", err, time.Since(start))
		}
	})
}

// Without descriptors, Accept tries again at once if a connection can be closed.
func TestRetryAcceptReleases(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		open := 20 // connections to close
		final := errors.New("final")
		inner := &scriptedListener{accept: func() (net.Conn, error) {
			if open < 0 {
				return nil, final
			}
			return nil, acceptError(syscall.EMFILE)
		}}
		l := newRetryListener(inner, nil, func() bool {
			open--
			return open >= 0
		})
		start := time.Now()
		if _, err := l.Accept(); !errors.Is(err, final) {
			t.Errorf("Accept = %v", err)
		}
		if took := time.Since(start); took != firstAcceptPause {
			t.Errorf("took %v, want %v after the last connection", took, firstAcceptPause)
		}
	})
}
