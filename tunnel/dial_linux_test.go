package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// Dial ends with its context while the TCP handshake gets no answer: the listener's
// backlog is full, so the kernel drops SYNs.
func TestDialEndsWithItsContextUnanswered(t *testing.T) {
	t.Parallel()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", sa.(*syscall.SockaddrInet4).Port)
	for full := false; !full; {
		conn, err := net.DialTimeout("tcp", addr, 100*time.Millisecond)
		if full = err != nil; !full {
			defer conn.Close()
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	stop := time.AfterFunc(20*time.Millisecond, cancel)
	defer stop.Stop()
	result := make(chan error, 1)
	go func() {
		_, err := Dial(ctx, "ws://"+addr, nil)
		result <- err
	}()
	if err, ok := tunneltest.Within(DefaultConnectTimeout/2, result); !ok || !errors.Is(err, context.Canceled) {
		t.Errorf("Dial = %v, want canceled well before %v", err, DefaultConnectTimeout)
	}
	if _, err := Dial(t.Context(), "ws://"+addr, &DialOptions{ConnectTimeout: 20 * time.Millisecond}); err == nil || err.Error() != "dial ws://"+addr+": no answer within 20ms" {
		t.Errorf("Dial = %v, want no answer within 20ms", err)
	}
}
