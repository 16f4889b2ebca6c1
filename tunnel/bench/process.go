package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
)

// unlimited is the result of openFiles if there is no limit.
const unlimited = 1 << 30

// process is a child process whose stdout is read line by line.
type process struct {
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string   // closed at the end of stdout
	ended chan struct{} // closed when the process has ended
	errs  tail          // stderr
}

// startProcess starts a child process. On Linux it is killed when the thread that started
// it ends, so the caller must be locked to its thread.
func startProcess(name, path string, args ...string) (*process, error) {
	p := &process{name: name, lines: make(chan string, 1024), ended: make(chan struct{})}
	p.cmd = exec.Command(path, args...) //nolint:gosec,noctx // the path is from a flag; stop ends the process
	p.cmd.Env = environment()
	p.cmd.Stderr = &p.errs
	p.cmd.SysProcAttr = childAttributes()
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.ended)
		p.readLines(stdout)
		_ = p.cmd.Wait() // the error is in errs, or stop killed the process
	}()
	return p, nil
}

func (p *process) readLines(stdout io.Reader) {
	defer close(p.lines)
	for s := bufio.NewScanner(stdout); s.Scan(); {
		select {
		case p.lines <- s.Text():
		default: // no caller reads the lines of this process
		}
	}
}

// environment returns this process's environment without WSTUN_ variables.
func environment() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "WSTUN_") {
			env = append(env, kv)
		}
	}
	return env
}

// line waits for the next line of stdout.
func (p *process) line(ctx context.Context) (string, error) {
	select {
	case line, ok := <-p.lines:
		if !ok {
			<-p.ended
			return "", fmt.Errorf("%s ended: %s", p.name, p.errs.String())
		}
		return line, nil
	case <-ctx.Done():
		return "", fmt.Errorf("%s: %w: %s", p.name, context.Cause(ctx), p.errs.String())
	}
}

// stop kills the process and waits for its end.
func (p *process) stop() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// tail is a writer that keeps the last tailSize bytes.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 2000

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	t.text = t.text[max(0, len(t.text)-tailSize):]
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text))
}
