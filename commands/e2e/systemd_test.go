//go:build linux

package e2e

import (
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSystemd tests the messages to systemd of a service of Type=notify, see sd_notify(3).
func TestSystemd(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	expect := func(want string) {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(outputWait)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4096)
		n, err := conn.Read(b)
		if err != nil {
			t.Fatalf("no %s: %v", want, err)
		}
		if got := string(b[:n]); !strings.HasPrefix(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	serve := startDaemon(t, "wstun", "serve")
	dial := startDaemon(t, "env", "NOTIFY_SOCKET="+path, "wstun", "dial", serve.find(t, `^(ws://.*)$`))
	expect("READY=1") // without waiting for the session
	expect("STATUS=session up: ")
	serve.kill()
	expect("STATUS=no session: ")
	if err := dial.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	expect("STOPPING=1")
}
