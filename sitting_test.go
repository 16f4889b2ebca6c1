//go:build linux || darwin

package main

import (
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"
)

// sitting is somebody at a terminal in which wstun shell runs.
type sitting struct {
	t        *testing.T
	cmd      *exec.Cmd
	keyboard *os.File // and screen
	terminal *os.File // the program's side
	before   *term.State
	exited   chan struct{}

	mu      sync.Mutex
	text    bytes.Buffer
	seen    int
	changed chan struct{}
}

// sit runs wstun shell in a terminal, and waits for the prompt. Its history is kept in
// a folder of its own, unless env or args say otherwise.
func sit(t *testing.T, env []string, args ...string) *sitting {
	t.Helper()
	keyboard, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(keyboard, &pty.Winsize{Rows: 24, Cols: 200}); err != nil {
		t.Fatal(err)
	}
	before, err := term.GetState(int(terminal.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("wstun", append([]string{"shell"}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.Env = append(append(os.Environ(), "XDG_STATE_HOME="+t.TempDir()), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &sitting{t: t, cmd: cmd, keyboard: keyboard, terminal: terminal, before: before, exited: make(chan struct{}), changed: make(chan struct{})}
	read := make(chan struct{})
	go s.read(read)
	go func() {
		_ = cmd.Wait() // the status is in cmd.ProcessState
		close(s.exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-s.exited
		terminal.Close()
		keyboard.Close()
		<-read
		if t.Failed() {
			t.Logf("the screen:\n%q", s.screen())
		}
	})
	s.await(`wstun> $`)
	return s
}

func (s *sitting) read(done chan<- struct{}) {
	defer close(done)
	buf := make([]byte, 4096)
	for {
		n, err := s.keyboard.Read(buf)
		s.mu.Lock()
		s.text.Write(buf[:n])
		close(s.changed)
		s.changed = make(chan struct{})
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// screen is all that has been shown.
func (s *sitting) screen() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// press presses keys.
func (s *sitting) press(keys string) {
	s.t.Helper()
	if _, err := io.WriteString(s.keyboard, keys); err != nil {
		s.t.Fatal(err)
	}
}

// await waits until the screen shows a match behind the last one.
func (s *sitting) await(pattern string) {
	s.t.Helper()
	re := regexp.MustCompile(pattern)
	timeout := time.After(outputWait)
	for {
		s.mu.Lock()
		rest, changed := s.text.Bytes()[s.seen:], s.changed
		at := re.FindIndex(rest)
		if at != nil {
			s.seen += at[1]
		}
		s.mu.Unlock()
		if at != nil {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			s.t.Fatalf("no match for %q", pattern)
		}
	}
}

// enter types a line and waits for what comes of it, and for the prompt behind it.
func (s *sitting) enter(line, pattern string) {
	s.t.Helper()
	s.press(line + "\r")
	s.await(`\n`) // behind the line
	s.await(pattern)
	s.await(`> $`)
}

// wantEnd waits for the end of the shell, and wants the terminal as it was.
func (s *sitting) wantEnd(status int) {
	s.t.Helper()
	select {
	case <-s.exited:
	case <-time.After(outputWait):
		s.t.Fatal("the shell goes on")
	}
	if got := s.cmd.ProcessState.ExitCode(); got != status {
		s.t.Errorf("status %d, want %d", got, status)
	}
	after, err := term.GetState(int(s.terminal.Fd()))
	if err != nil {
		s.t.Fatal(err)
	}
	if !reflect.DeepEqual(after, s.before) {
		s.t.Error("the terminal isn't what it was")
	}
}

const (
	ctrlC   = "\x03"
	ctrlD   = "\x04"
	ctrlU   = "\x15"
	arrowUp = "\x1b[A"
)

// switchable is a TCP relay whose target can be replaced.
type switchable struct {
	mu     sync.Mutex
	target string // empty: connections are closed at once
	addr   string
}

func newSwitchable(t *testing.T, target string) *switchable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &switchable{target: target, addr: l.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { r.carry(conn) })
		}
	})
	t.Cleanup(func() { // once those at both ends have gone
		l.Close()
		wg.Wait()
	})
	return r
}

func (r *switchable) switchTo(target string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target = target
}

func (r *switchable) carry(conn net.Conn) {
	defer conn.Close()
	r.mu.Lock()
	target := r.target
	r.mu.Unlock()
	if target == "" {
		return
	}
	peer, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	var wg sync.WaitGroup
	for _, pair := range [][2]net.Conn{{conn, peer}, {peer, conn}} {
		wg.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			pair[0].Close()
			pair[1].Close()
		})
	}
	wg.Wait()
}

// start runs a program until kill is called, and returns the first match of re in what
// it prints.
func start(t *testing.T, re string, args ...string) (match string, kill func()) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = environ()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	t.Cleanup(kill)
	found := make(chan string, 1)
	go func() {
		defer close(ended)
		var text []byte
		buf := make([]byte, 4096)
		for {
			n, err := out.Read(buf)
			text = append(text, buf[:n]...)
			if at := regexp.MustCompile(re).FindSubmatch(text); at != nil && len(found) == 0 {
				found <- string(at[1])
			}
			if err != nil {
				_ = cmd.Wait()
				return
			}
		}
	}()
	select {
	case match = <-found:
	case <-time.After(outputWait):
		t.Fatalf("%q prints no %s", args, re)
	}
	return match, kill
}
