//go:build unix

package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Idle connections, more than a process may open files, keep no client out for long, and
// the log stays short. "dial" is for local listeners, where idle connections are allowed:
// there a client gets in once some have gone.
func TestIdleConnections(t *testing.T) {
	t.Parallel()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	serve := startDaemon(t, "sh", "-c", `ulimit -n 48; exec wstun serve --token-file "$1"`, "sh", token)
	url := serve.find(t, `^(ws://.*)$`)
	openIdle(t, strings.TrimSuffix(strings.TrimPrefix(url, "ws://"), "/"), 200)
	runCommand(t, fmt.Sprintf("wstun list --connect-timeout 5s --token-file %s %s", token, url)) // 10 s is the timeout of a request
	checkLines(t, serve, "level=WARN", 2)                                                        // one of the connections, perhaps one of the files

	dial := startDaemon(t, "sh", "-c", `ulimit -n 48; exec wstun dial --token-file "$1" "$2"`, "sh", token, url)
	addr := dial.find(t, `^(127.*)$`)
	dial.find(t, "session up")
	conns := openIdle(t, addr, 200)
	dial.find(t, "too many open files")
	for _, conn := range conns {
		_ = conn.Close()
	}
	runCommand(t, "wstun list "+addr)
	checkLines(t, dial, "too many open files", 1)
}

// openIdle opens n connections that send nothing.
func openIdle(t *testing.T, addr string, n int) (conns []net.Conn) {
	t.Helper()
	for range n {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		conns = append(conns, conn)
	}
	return conns
}

// checkLines fails the test if more than most lines of the output contain text.
func checkLines(t *testing.T, p *process, text string, most int) {
	t.Helper()
	if n := strings.Count(p.String(), text); n > most {
		t.Errorf("%d lines with %q, want at most %d", n, text, most)
	}
}
