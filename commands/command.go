package commands

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/term"
)

// Exit statuses of a shell for a command that could not be run, and the base
// of those for one that a signal ended.
const (
	statusNotExecutable = 126
	statusNotFound      = 127
	statusSignal        = 128
)

// runCommand runs p.command with WSTUN_ADDR set to addr, and passes signals on to it. The
// error is a *commandError with its exit status, nil for 0.
func (p *program) runCommand(addr string, signals <-chan os.Signal) error {
	cmd := exec.Command(p.command[0], p.command[1:]...) //nolint:gosec,noctx // the user gave it; it receives the signals itself
	cmd.Env = append(os.Environ(), "WSTUN_ADDR="+addr)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.stdin, p.stdout, unmasked(p.stderr)

	if err := cmd.Start(); err != nil {
		p.report(fmt.Errorf("%s: %w", p.command[0], startCause(err)))
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			return &commandError{statusNotFound}
		}
		return &commandError{statusNotExecutable}
	}
	done := make(chan struct{})
	defer close(done)
	go passSignals(cmd.Process, signals, done)

	err := cmd.Wait()
	if ee, ok := errors.AsType[*exec.ExitError](err); ok {
		if ws, ok := ee.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return &commandError{statusSignal + int(ws.Signal())}
		}
		return &commandError{ee.ExitCode()}
	}
	return err
}

// startCause returns err without the command's name.
func startCause(err error) error {
	if ee, ok := errors.AsType[*exec.Error](err); ok {
		return ee.Err
	}
	return pathCause(err)
}

// passSignals sends signals to the process, except those that a terminal sends to both
// processes.
func passSignals(process *os.Process, signals <-chan os.Signal, done <-chan struct{}) {
	terminal := term.IsTerminal(int(os.Stdin.Fd())) //nolint:forbidigo // nothing is read from it
	for {
		select {
		case s := <-signals:
			if !terminal || s != os.Interrupt && s != syscall.SIGQUIT {
				_ = process.Signal(s)
			}
		case <-done:
			return
		}
	}
}
