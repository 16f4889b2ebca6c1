//go:build unix

package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestReadmeQuickStart runs the quick start as it stands in the README, but
// for the two ports, and compares what it prints.
func TestReadmeQuickStart(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n## Quick start\n")
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(section, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d terminals in the quick start, want 2", len(blocks))
	}
	ports := strings.NewReplacer() // those of the text by those of this run
	var replaced []string
	for _, block := range blocks {
		for _, step := range strings.Split("\n"+block[1], "\n$ ")[1:] {
			command, want, _ := strings.Cut(step, "\n")
			want = strings.TrimRight(want, "\n") + "\n"
			command = ports.Replace(command)
			background, stays := strings.CutSuffix(command, " &")
			if !stays && !strings.HasSuffix(command, " serve") {
				if got := shell(t, command); got != want {
					t.Errorf("$ %s\n%swant\n%s", command, got, want)
				}
				continue
			}
			got := stay(t, background)
			port := regexp.MustCompile(`:(\d+)`)
			if port.ReplaceAllString(got, "") != port.ReplaceAllString(want, "") {
				t.Fatalf("$ %s\n%swant\n%s", command, got, want)
			}
			replaced = append(replaced, port.FindString(want), port.FindString(got))
			ports = strings.NewReplacer(replaced...)
		}
	}
}

// The README's library example is the package's, but for the indentation.
func TestReadmeLibraryExample(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("tunnel/wsmux/wsmux_example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```go\n(.*?)```").FindSubmatch(readme)
	if block == nil {
		t.Fatal("no example in the README")
	}
	if !strings.Contains(unindent(string(example)), unindent(string(block[1]))) {
		t.Error("the README's example is not the one that the package's tests run")
	}
}

func unindent(s string) string { return regexp.MustCompile(`(?m)^\t+`).ReplaceAllString(s, "") }

// environ has the default ports replaced by free ones.
func environ() []string {
	return append(os.Environ(), "WSTUN_ACCEPT=127.0.0.1:0", "WSTUN_LISTEN=127.0.0.1:0")
}

// shell runs a command to its end and returns its stdout.
func shell(t *testing.T, command string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
	cmd.Env = environ()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("$ %s: %v\n%s", command, err, &stderr)
	}
	return string(out)
}

// stay starts a command that goes on, and returns the first line that it
// prints. It is stopped, with what it has started, when t ends.
func stay(t *testing.T, command string) string {
	t.Helper()
	cmd := exec.Command("sh", "-c", command)
	cmd.Env = environ()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // go run passes no signals on
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(stdout)
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		_, _ = io.Copy(io.Discard, out) // until the last process has gone
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("$ %s\n%s", command, &stderr)
		}
	})
	line, err := out.ReadString('\n')
	if err != nil {
		t.Fatalf("$ %s: %v", command, err)
	}
	return line
}
