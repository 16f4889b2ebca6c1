//go:build unix

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// startWithStderr starts wstun dial with a trace of all messages, whose stderr is the given
// file, and returns its address for clients.
func startWithStderr(t *testing.T, url string, stderr *os.File) (p *exec.Cmd, addr string) {
	t.Helper()
	p = exec.Command("wstun", "dial", "--listen", "127.0.0.1:0", "--trace-messages", "--log-level", "error", url)
	p.Stderr = stderr
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Process.Kill()
		_ = p.Wait()
	})
	line := make([]byte, 100)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	return p, strings.TrimSpace(string(line[:n]))
}

// echo sends n messages of 2 kB to Echo, and expects all responses.
func echo(t *testing.T, addr string, n int) {
	t.Helper()
	requests := filepath.Join(t.TempDir(), "requests")
	if err := os.WriteFile(requests, []byte(strings.Repeat(fmt.Sprintf("{\"text\":%q}\n", strings.Repeat("x", 2000)), n)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "wstun", "call", "-d", "@"+requests, addr, "Hub/Echo").Output()
	if got := bytes.Count(out, []byte("\n")); err != nil || got != n {
		t.Fatalf("%d responses, %v, want %d", got, err, n)
	}
}

// Calls continue while nothing reads the trace, which then reports its losses.
func TestTraceNotRead(t *testing.T) {
	skipWithRace(t)
	t.Parallel()
	serve := startDaemon(t, "wstun", "serve", "--accept", "127.0.0.1:0")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, addr := startWithStderr(t, serve.find(t, `^ws://\S+$`), w)
	w.Close()
	echo(t, addr, 20_000)
	echo(t, addr, 1)
	if peak := residentPeak(t, p.Process.Pid); peak > 128<<20 {
		t.Errorf("it took %d MiB", peak>>20)
	}

	lines := make(chan string, 1)
	go func() {
		var all bytes.Buffer
		_, _ = io.Copy(&all, r)
		lines <- all.String()
	}()
	_ = p.Process.Signal(os.Interrupt)
	trace := tunneltest.Await(t, "the trace", lines)
	for _, want := range []string{
		`(?m)^\S+ +lost  \d+ messages, [\d.]+ MiB of messages: the trace could not keep up$`,
		`(?m) OK  Hub/Echo .*↑ 20000 · 38\.\d MiB +↓ 20000 · `,
		`(?m) OK  Hub/Echo .*↑ 1 · `,
		`(?m)^trace: 2 calls, .*, lost: \d+ messages, `,
	} {
		if !regexp.MustCompile(want).MatchString(trace) {
			t.Errorf("no match for %s at the end of the trace:\n%s", want, trace[max(0, len(trace)-2000):])
		}
	}
}

// Calls continue when the trace can't be written.
func TestTraceNotWritten(t *testing.T) {
	t.Parallel()
	serve := startDaemon(t, "wstun", "serve", "--accept", "127.0.0.1:0")
	url := serve.find(t, `^ws://\S+$`)
	for name, open := range map[string]func() (*os.File, error){
		"a full disk": func() (*os.File, error) { return os.OpenFile("/dev/full", os.O_WRONLY, 0) },
		"a closed pipe": func() (*os.File, error) {
			r, w, err := os.Pipe()
			if err == nil {
				r.Close()
			}
			return w, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file, err := open()
			if err != nil {
				t.Skip(err)
			}
			defer file.Close()
			p, addr := startWithStderr(t, url, file)
			for range 3 {
				echo(t, addr, 1000)
			}
			_ = p.Process.Signal(os.Interrupt)
			if err := p.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// residentPeak returns the most memory that a process has had, in bytes, 0 if that
// is unknown.
func residentPeak(t *testing.T, pid int) int64 {
	t.Helper()
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib int64
	_, _ = fmt.Sscan(rest, &kib)
	return kib << 10
}
