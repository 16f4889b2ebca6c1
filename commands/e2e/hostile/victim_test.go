//go:build linux && !race

package hostile

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

const (
	// exitWait is how long an idle process may take to end on SIGTERM.
	exitWait = 20 * time.Second

	// A process that uses at most idleCPU during idleInterval is idle, except for
	// innocent calls.
	idleInterval = 100 * time.Millisecond
	idleCPU      = idleInterval / 5
)

// uninteresting matches the lines of a log that sessions without trouble leave, and the stack
// dump of a crash.
var uninteresting = regexp.MustCompile(`(?m)^.* msg="session up" .*\n|(?s)^goroutine .*`)

// victim is a process under attack.
type victim struct {
	cmd    *exec.Cmd
	stderr string        // path of a file
	heaps  *bufio.Reader // the probe's answers
	exited chan struct{} // closed when the process has ended

	// The addresses that the process has printed, in order: host:port of local
	// listeners, then the URL of an accepting WebSocket.
	addrs []string
}

// command returns the program's command.
func (p program) command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "sh", append([]string{"-c", p.prepare + `exec "$0" "$@"`, p.path}, args...)...)
}

// start starts the program, which prints as many addresses as listeners says. It is
// killed when t ends.
func (p program) start(t *testing.T, listeners int, args ...string) *victim {
	t.Helper()
	v := &victim{stderr: filepath.Join(t.TempDir(), "stderr"), exited: make(chan struct{})}
	v.cmd = p.command(context.Background(), args...)
	stderr, err := os.Create(v.stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	v.cmd.Stderr = stderr
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	v.heaps, v.cmd.ExtraFiles = bufio.NewReader(r), []*os.File{w}
	stdout, err := v.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = v.cmd.Process.Kill()
		<-v.exited
		r.Close()
		if t.Failed() {
			log := uninteresting.ReplaceAllString(v.log(), "")
			t.Logf("wstun %s\n%s", strings.Join(args, " "), log[:min(len(log), 2000)])
		}
	})
	lines := bufio.NewScanner(stdout)
	for len(v.addrs) < listeners && lines.Scan() {
		v.addrs = append(v.addrs, lines.Text())
	}
	go func() {
		for lines.Scan() { // Wait closes the pipe, so the output must have been read
		}
		_ = v.cmd.Wait() // the status is in cmd.ProcessState
		close(v.exited)
	}()
	if len(v.addrs) < listeners {
		<-v.exited
		t.Fatalf("it ended with %v", v.cmd.ProcessState)
	}
	return v
}

// url returns the last address.
func (v *victim) url() string { return v.addrs[len(v.addrs)-1] }

// dials reports whether the process is wstun dial, which is a yamux client.
func (v *victim) dials() bool { return len(v.addrs) > 1 }

func (v *victim) log() string {
	log, _ := os.ReadFile(v.stderr)
	return string(log)
}

// awaitLog waits until the log matches pattern.
func (v *victim) awaitLog(pattern string, atMost time.Duration) error {
	re := regexp.MustCompile(pattern)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(atMost); !re.MatchString(v.log()); <-tick.C {
		if time.Now().After(deadline) || !v.alive() {
			return fmt.Errorf("no match for %q in the log within %v", pattern, atMost)
		}
	}
	return nil
}

// awaitSessions waits until n sessions have come up.
func (v *victim) awaitSessions(t *testing.T, n int) {
	t.Helper()
	if err := v.awaitLog(fmt.Sprintf(`(?s)(session up.*){%d}`, n), tunneltest.Patience); err != nil {
		t.Fatal(err)
	}
}

// alive reports whether the process runs.
func (v *victim) alive() bool {
	select {
	case <-v.exited:
		return false
	default:
		return true
	}
}

// heap collects garbage and returns the live heap in bytes.
func (v *victim) heap() (int64, error) {
	if err := v.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		return 0, err
	}
	line, err := v.heaps.ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("the process died: %w", err)
	}
	return strconv.ParseInt(strings.TrimSpace(line), 10, 64)
}

// peak returns the most memory that the process has had, in bytes.
func (v *victim) peak() int64 {
	if !v.alive() {
		return v.cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	}
	return memoryPeak(v.cmd.Process.Pid)
}

// memoryPeak returns the most memory that a running process has had, in bytes; 0 if it has
// ended.
func memoryPeak(pid int) int64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib int64
	_, _ = fmt.Sscan(rest, &kib)
	return kib << 10
}

// cpu returns the processor time that the process has used.
func (v *victim) cpu() time.Duration {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", v.cmd.Process.Pid))
	fields := strings.Fields(string(stat))
	if len(fields) < 15 {
		return 0
	}
	user, _ := strconv.Atoi(fields[13])
	system, _ := strconv.Atoi(fields[14])
	const tick = 10 * time.Millisecond // USER_HZ is 100 (proc(5))
	return time.Duration(user+system) * tick
}

// settle waits until the process has handled the bytes that it has been sent and is idle.
func (v *victim) settle(atMost time.Duration) {
	tick := time.NewTicker(idleInterval)
	defer tick.Stop()
	for last, deadline := v.cpu(), time.Now().Add(atMost); time.Now().Before(deadline) && v.alive(); {
		<-tick.C
		now := v.cpu()
		if now-last <= idleCPU {
			return
		}
		last = now
	}
}

// busy returns the time that the threads of the process have run, or waited for a processor.
func (v *victim) busy() (total time.Duration) {
	stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", v.cmd.Process.Pid))
	for _, path := range stats {
		stat, _ := os.ReadFile(path)
		var running, waiting time.Duration
		_, _ = fmt.Sscan(string(stat), &running, &waiting)
		total += running + waiting
	}
	return total
}

// await waits until isDone returns true. It gives up when the process has had nothing to do for
// a time, so that it doesn't wait for the process's own timeouts, or after tunneltest.Patience.
func (v *victim) await(idle time.Duration, isDone func() bool) bool {
	tick := time.NewTicker(idleInterval)
	defer tick.Stop()
	busy, at, wasIdle := v.busy(), time.Now(), time.Duration(0)
	for deadline := at.Add(tunneltest.Patience); !isDone(); <-tick.C {
		nowBusy, now := v.busy(), time.Now()
		if took := now.Sub(at); nowBusy-busy <= took/5 { // as idleCPU
			wasIdle += took
		}
		if busy, at = nowBusy, now; wasIdle > idle || now.After(deadline) || !v.alive() {
			return false
		}
	}
	return true
}

// stop sends SIGTERM and waits for the end.
func (v *victim) stop() error {
	if err := v.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-v.exited:
	case <-time.After(exitWait):
		_ = v.cmd.Process.Signal(syscall.SIGQUIT) // for a stack dump
		return errors.New("it doesn't end on SIGTERM")
	}
	if code := v.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("it ended with %v", v.cmd.ProcessState)
	}
	return nil
}
