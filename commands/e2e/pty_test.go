//go:build linux || darwin

package e2e

import (
	"io"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"
)

// ptySession is wstun in a pseudo-terminal, and its user.
type ptySession struct {
	t      *testing.T
	cmd    *exec.Cmd
	user   *os.File    // the user's side: keyboard and screen
	tty    *os.File    // wstun's side
	before *term.State // of the terminal, before wstun
	screen *output
	exited chan struct{}
}

// startShell runs wstun shell in a pseudo-terminal and waits for the prompt. The
// history is in a temporary folder, unless env or args say otherwise.
func startShell(t *testing.T, env []string, args ...string) *ptySession {
	t.Helper()
	s := startInTerminal(t, append([]string{"XDG_STATE_HOME=" + t.TempDir()}, env...), append([]string{"shell"}, args...)...)
	s.await(`wstun> $`)
	return s
}

// startInTerminal runs wstun in a pseudo-terminal.
func startInTerminal(t *testing.T, env []string, args ...string) *ptySession {
	t.Helper()
	user, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(user, &pty.Winsize{Rows: 24, Cols: 200}); err != nil {
		t.Fatal(err)
	}
	before, err := term.GetState(int(tty.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("wstun", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.Env = append(environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &ptySession{t, cmd, user, tty, before, &output{changed: make(chan struct{})}, make(chan struct{})}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(screenWriter{s.screen}, user)
	}()
	go func() {
		_ = cmd.Wait() // the status is in cmd.ProcessState
		close(s.exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-s.exited
		tty.Close()
		user.Close()
		<-read
		if t.Failed() {
			t.Logf("the screen:\n%q", s.screen)
		}
	})
	return s
}

// screenWriter adds to a screen's only stream.
type screenWriter struct{ *output }

func (w screenWriter) Write(text []byte) (int, error) {
	w.add(0, text)
	return len(text), nil
}

// press presses keys.
func (s *ptySession) press(keys string) {
	s.t.Helper()
	if _, err := io.WriteString(s.user, keys); err != nil {
		s.t.Fatal(err)
	}
}

// await waits until the screen shows a match after the previous one.
func (s *ptySession) await(pattern string) {
	s.t.Helper()
	s.match(pattern)
}

// match is await that returns the match.
func (s *ptySession) match(pattern string) string {
	s.t.Helper()
	match, err := s.screen.await(regexp.MustCompile(pattern))
	if err != nil {
		s.t.Fatal(err)
	}
	return match[0]
}

// enter types a line and waits for a match in the output that follows, and for
// the next prompt.
func (s *ptySession) enter(line, pattern string) {
	s.t.Helper()
	s.press(line + "\r")
	s.await(`\n`) // the end of the line itself
	s.await(pattern)
	s.await(`> $`)
}

// wantExit waits for the end of wstun, and requires the terminal to be in
// its former state.
func (s *ptySession) wantExit(status int) {
	s.t.Helper()
	select {
	case <-s.exited:
	case <-time.After(outputWait):
		s.t.Fatal("wstun keeps running")
	}
	if got := s.cmd.ProcessState.ExitCode(); got != status {
		s.t.Errorf("status %d, want %d", got, status)
	}
	after, err := term.GetState(int(s.tty.Fd()))
	if err != nil {
		s.t.Fatal(err)
	}
	if !reflect.DeepEqual(after, s.before) {
		s.t.Error("the terminal isn't in its former state")
	}
}

const (
	ctrlC   = "\x03"
	ctrlD   = "\x04"
	ctrlR   = "\x12"
	ctrlU   = "\x15"
	arrowUp = "\x1b[A"
)
