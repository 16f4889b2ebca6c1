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

// unlimited is the number of files where there is no limit.
const unlimited = 1 << 30

// process is a child whose stdout is read line by line.
type process struct {
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string   // closed when stdout ends
	ended chan struct{} // closed when the process has
	errs  tail
}

// startProcess starts a child. On Linux it ends with the thread that started it:
// call this from a goroutine that is locked to one.
func startProcess(name, path string, args ...string) (*process, error) {
	p := &process{name: name, lines: make(chan string, 1024), ended: make(chan struct{})}
	p.cmd = exec.Command(path, args...) //nolint:gosec,noctx // to run programs is the purpose; stop ends them
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
		_ = p.cmd.Wait() // it is killed, or its last words are in errs
	}()
	return p, nil
}

func (p *process) readLines(stdout io.Reader) {
	defer close(p.lines)
	for s := bufio.NewScanner(stdout); s.Scan(); {
		select {
		case p.lines <- s.Text():
		default: // nobody reads what this one prints
		}
	}
}

// environment is ours without what changes wstun.
func environment() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "WSTUN_") {
			env = append(env, kv)
		}
	}
	return env
}

// line waits for the next line of the process.
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

// stop ends the process at once.
func (p *process) stop() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// tail is the end of what was written to it.
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
