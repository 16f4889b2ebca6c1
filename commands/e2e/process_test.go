//go:build unix

package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// outputWait bounds every wait for a process. It is long because it passes in
// full only when a test fails.
const outputWait = 30 * time.Second

// output is the text that a process has written so far.
type output struct {
	mu      sync.Mutex
	streams [2][]byte     // stdout and stderr; separate, since the order of reads isn't the order of writes
	seen    [2]int        // how much of each stream await has matched
	changed chan struct{} // closed and replaced when a stream grows

	exited chan struct{} // closed when the process has ended and its output is complete; nil for a terminal
}

func newOutput() *output { return &output{changed: make(chan struct{}), exited: make(chan struct{})} }

func (o *output) add(stream int, text []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.streams[stream] = append(o.streams[stream], text...)
	close(o.changed)
	o.changed = make(chan struct{})
}

// String returns stdout followed by stderr.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(slices.Concat(o.streams[0], o.streams[1]))
}

// await waits for a match of re in either stream, after the previous match.
func (o *output) await(re *regexp.Regexp) ([]string, error) {
	return o.wait(re, func() []string {
		for i, text := range o.streams {
			rest := text[o.seen[i]:]
			if at := re.FindIndex(rest); at != nil {
				o.seen[i] += at[1]
				return re.FindStringSubmatch(string(rest))
			}
		}
		return nil
	})
}

// wait calls find, with mu held, each time the output has grown, until find
// returns a match.
func (o *output) wait(re *regexp.Regexp, find func() []string) ([]string, error) {
	timeout := time.After(outputWait)
	for last := false; ; {
		o.mu.Lock()
		match, changed := find(), o.changed
		o.mu.Unlock()
		if match != nil {
			return match, nil
		}
		if last {
			return nil, fmt.Errorf("ended without a match for %v; its output:\n%s", re, o)
		}
		select {
		case <-changed:
		case <-o.exited:
			last = true // the output may have grown since find
		case <-timeout:
			return nil, fmt.Errorf("no match for %v; its output:\n%s", re, o)
		}
	}
}

// process is a running program in a process group of its own.
type process struct {
	cmd *exec.Cmd
	*output
}

// startProcess starts cmd and copies its output line by line, also to stdout
// and stderr. The caller must kill the process.
func startProcess(cmd *exec.Cmd, stdout, stderr io.Writer) (*process, error) {
	if err := readSources(); err != nil {
		return nil, err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := &process{cmd, newOutput()}
	outPipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	errPipe, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var readers sync.WaitGroup
	readers.Go(func() { p.readLines(0, outPipe, stdout) })
	readers.Go(func() { p.readLines(1, errPipe, stderr) })
	go func() {
		readers.Wait()
		_ = cmd.Wait() // the status is in cmd.ProcessState
		close(p.exited)
	}()
	return p, nil
}

func (p *process) readLines(stream int, r io.Reader, file io.Writer) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		_, _ = file.Write(line)
		p.add(stream, line)
		if err != nil {
			return
		}
	}
}

// kill kills the process and the processes that it has started.
func (p *process) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.exited
}

// exitStatus waits for the end of the process, which may still have much to do.
// A negative status is a signal.
func (p *process) exitStatus() (int, error) {
	const exitWait = 2 * outputWait
	select {
	case <-p.exited:
	case <-time.After(exitWait):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // for a stack dump
		<-p.exited
		return 0, fmt.Errorf("still running after %v; its output:\n%s", exitWait, p)
	}
	if ws, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return -int(ws.Signal()), nil
	}
	return p.cmd.ProcessState.ExitCode(), nil
}

// environ is the environment with the default ports replaced by free ones, and without
// colors.
func environ() []string {
	return append(os.Environ(), "WSTUN_ACCEPT=127.0.0.1:0", "WSTUN_LISTEN=127.0.0.1:0", "NO_COLOR=1")
}

// startDaemon starts a program, which is killed when t ends.
func startDaemon(t *testing.T, prog string, args ...string) *process {
	t.Helper()
	cmd := exec.Command(prog, args...)
	cmd.Env = environ()
	return runDaemon(t, cmd)
}

// runDaemon starts a command, which is killed when t ends.
func runDaemon(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p, err := startProcess(cmd, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("$ %s\n%s", strings.Join(cmd.Args, " "), p)
		}
	})
	return p
}

// find waits for a match anywhere in the output, and returns its last group.
func (p *process) find(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile("(?m)" + pattern)
	match, err := p.wait(re, func() []string {
		return re.FindStringSubmatch(string(slices.Concat(p.streams[0], p.streams[1])))
	})
	if err != nil {
		t.Fatal(err)
	}
	return match[len(match)-1]
}

var firstLine = regexp.MustCompile(`^.*\n`)

// startCommand starts a shell command that keeps running, and returns the first
// line of its stdout. It is killed when t ends.
func startCommand(t *testing.T, command string) string {
	t.Helper()
	p := startDaemon(t, "sh", "-c", command)
	match, err := p.wait(firstLine, func() []string { return firstLine.FindStringSubmatch(string(p.streams[0])) })
	if err != nil {
		t.Fatal(err)
	}
	return match[0]
}

// runCommand runs a shell command to its end and returns its stdout.
func runCommand(t *testing.T, command string) string {
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
