//go:build linux && !race

package hostile

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// commandAttack is an attack on a command that ends by itself.
type commandAttack struct {
	name string
	args func(t *testing.T) []string // starts the hostile server

	// output matches stdout and stderr, one after the other. Default: anything.
	output    string
	peak      int64         // MiB; default: 256
	cpu       time.Duration // that it may use; default: 10 s
	within    time.Duration // until it is killed; default: 1 minute
	interrupt bool          // send SIGINT after 300 ms
}

// TestCommands runs the attacks on commands that end by themselves.
func TestCommands(t *testing.T) {
	p := build(t)
	for _, a := range slices.Concat(responseAttacks, lyingCommands, outputAttacks) {
		t.Run(a.name, func(t *testing.T) { a.test(t, p) })
	}
}

func (a *commandAttack) test(t *testing.T, p program) {
	t.Helper()
	if a.peak == 0 {
		a.peak = 256
	}
	if a.cpu == 0 {
		a.cpu = 10 * time.Second
	}
	if a.within == 0 {
		a.within = time.Minute
	}
	args := a.args(t)
	ctx, cancel := context.WithTimeout(t.Context(), a.within)
	defer cancel()
	cmd := p.command(ctx, args...)
	var out bytes.Buffer
	both := &limitedBuffer{&out}
	cmd.Stdout, cmd.Stderr = both, both
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	peaks := watchPeak(cmd.Process.Pid)
	if a.interrupt {
		stop := time.AfterFunc(300*time.Millisecond, func() { _ = cmd.Process.Signal(os.Interrupt) })
		defer stop.Stop()
	}
	err := cmd.Wait()
	used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	peak := <-peaks / mib
	t.Logf("%v after %.2f s of CPU time; peak %d MiB", cmd.ProcessState, used.Seconds(), peak)
	text, _, _ := strings.Cut(out.String(), "\ngoroutine ") // without the stack dump of a crash
	exit, ok := errors.AsType[*exec.ExitError](err)
	switch {
	case ctx.Err() != nil:
		t.Errorf("it doesn't end within %v", a.within)
	case err != nil && !ok:
		t.Error(err)
	case ok && exit.ExitCode() < 0, strings.Contains(text, "fatal error: "), strings.Contains(text, "panic: "):
		t.Error("it crashed")
	case used > a.cpu:
		t.Errorf("it used %v of CPU time, want at most %v", used.Round(time.Millisecond), a.cpu)
	}
	if peak > a.peak {
		t.Errorf("the peak was %d MiB, want at most %d", peak, a.peak)
	}
	if !regexp.MustCompile(a.output).MatchString(text) {
		t.Errorf("the output doesn't match %q", a.output)
	}
	if t.Failed() {
		t.Logf("wstun %s\n%.2000s", strings.Join(args, " "), text)
	}
}

// watchPeak sends the most memory in bytes that a process has had, when the process has
// ended. (The maximum in os.ProcessState includes the memory of the test's process, in
// which the new one starts.)
func watchPeak(pid int) chan int64 {
	peak := make(chan int64, 1)
	go func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		var last int64
		for now := memoryPeak(pid); now > 0; now = memoryPeak(pid) { // a zombie has none
			last = now
			<-tick.C
		}
		peak <- last
	}()
	return peak
}

// limitedBuffer keeps the first bytes of the output.
type limitedBuffer struct{ b *bytes.Buffer }

func (l *limitedBuffer) Write(p []byte) (int, error) {
	const most = 1 << 20
	l.b.Write(p[:min(len(p), max(0, most-l.b.Len()))])
	return len(p), nil
}

// responseAttacks are header bombs in responses.
var responseAttacks = bombedCommands()

func bombedCommands() (list []commandAttack) {
	const hubProto = "../../demo/hub.proto"
	plain := func(t *testing.T, method string) string { t.Helper(); return serveBombs(method)(t).String() }
	for name, c := range map[string]struct {
		args  []string
		serve func(t *testing.T, method string) string
		more  []string
	}{
		"list":       {[]string{"list"}, serveBombsInSessions, nil},
		"plain list": {[]string{"list"}, plain, nil},
		"check":      {[]string{"check"}, serveBombsInSessions, nil},
		"call":       {[]string{"call", "--proto", hubProto}, serveBombsInSessions, []string{"wstun.demo.v1.Hub/Sleep"}},
	} {
		for _, bomb := range []string{headerBombMethod, trailerBombMethod, endlessBombMethod} {
			list = append(list, commandAttack{
				name: name + " meets " + path.Base(bomb) + " bombs",
				args: func(t *testing.T) []string {
					t.Helper()
					return slices.Concat(c.args, []string{c.serve(t, bomb)}, c.more)
				},
				output: "more than 1048576 bytes of metadata",
			})
		}
	}
	return list
}
