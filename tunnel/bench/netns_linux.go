package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	congestionControl     = "reno"
	congestionControlFile = "/proc/sys/net/ipv4/tcp_congestion_control"
)

// inNamespace runs this program with args in a new network namespace. The error wraps
// errNoNamespace if it can't create one.
func (p *program) inNamespace(ctx context.Context, args []string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: not root", errNoNamespace)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	runtime.LockOSThread() // Pdeathsig refers to the parent's thread
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, self, args...) //nolint:gosec // this program
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.stdin, p.stdout, p.stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w: %w", errNoNamespace, err)
	}
	err = cmd.Wait()
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		return errReported
	}
	return err
}

// prepareNetwork sets up loopback and congestion control if this process is in a new
// network namespace, which it recognizes by loopback being down. It returns a description
// of the network.
func prepareNetwork() (string, error) {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(s)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return "", err
	}
	if err := unix.IoctlIfreq(s, unix.SIOCGIFFLAGS, lo); err != nil {
		return "", fmt.Errorf("loopback: %w", err)
	}
	where := "the machine's own network"
	if lo.Uint16()&unix.IFF_UP == 0 {
		where = "a network namespace"
		lo.SetUint16(lo.Uint16() | unix.IFF_UP)
		if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo); err != nil {
			return "", fmt.Errorf("loopback: %w", err)
		}
		if err := os.WriteFile(congestionControlFile, []byte(congestionControl), 0); err != nil {
			where += ": " + err.Error()
		}
	}
	algorithm, err := os.ReadFile(congestionControlFile)
	return where + ", congestion control " + strings.TrimSpace(string(algorithm)), err
}
