//go:build unix

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// programs are those of the scripts: wstun, and what it needs about it.
var programs = map[string]func(){
	"wstun":      func() { os.Exit(run()) },
	"webpage":    webpage,
	"hangup":     hangup,
	"proxy":      proxy,
	"relay":      relay,
	"grpcserver": grpcserver,
	"load":       load,
}

func TestMain(m *testing.M) { testscript.Main(tests{m}, programs) }

// tests are this package's, which leave no goroutine behind.
type tests struct{ m *testing.M }

func (t tests) Run() int {
	status := t.m.Run()
	if err := goleak.Find(tunneltest.LingeringHTTP()); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return status
}

// TestScripts runs wstun as its users do: as processes, with the real grpcurl.
func TestScripts(t *testing.T) {
	t.Parallel()
	bin := tools(t)
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	refuseStop(t)
	if signal.Ignored(syscall.SIGHUP) { // by nohup: what the scripts start is not to ignore it
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			// With -race each of the processes would sleep for a second at its end.
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			env.Setenv("ROOT", root)
			env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Values[daemonsKey{}] = &daemons{byName: map[string]*daemon{}}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"daemon": cmdDaemon,
			"signal": cmdSignal,
			"ended":  cmdEnded,
			"halt":   cmdHalt,
			"status": cmdStatus,
			"await":  cmdAwait,
			"certs":  cmdCerts,
		},
		Condition: func(cond string) (bool, error) {
			if cond == "long" { // what takes minutes because time itself is tested
				return os.Getenv("WSTUN_LONG_TESTS") != "", nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// refuseStop fails for scripts with stop NAME: that is testscript's own, and ends
// the script as if all were well.
func refuseStop(t *testing.T) {
	t.Helper()
	scripts, err := filepath.Glob(filepath.Join("testdata", "script", "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range scripts {
		text, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		if stop := regexp.MustCompile(`(?m)^(\[.*\] *)?stop .*`).Find(text); stop != nil {
			t.Fatalf("%s: %q would end the script: want halt", script, stop)
		}
	}
}

// tools returns a folder with the grpcurl that go.mod names.
func tools(t *testing.T) string {
	t.Helper()
	path, err := exec.CommandContext(t.Context(), "go", "tool", "-n", "grpcurl").Output()
	if err != nil {
		t.Fatalf("go tool -n grpcurl: %v", err)
	}
	bin := t.TempDir()
	if err := os.Symlink(strings.TrimSpace(string(path)), filepath.Join(bin, "grpcurl")); err != nil {
		t.Fatal(err)
	}
	return bin
}

// outputWait bounds every wait for a process. It's long because it only ever
// passes when a test fails.
const outputWait = 30 * time.Second

type daemonsKey struct{}

// daemons are the processes that one script has started.
type daemons struct {
	mu     sync.Mutex
	byName map[string]*daemon
}

// daemon is a process whose output is read as it comes.
type daemon struct {
	cmd *exec.Cmd

	mu      sync.Mutex
	streams [2]stream     // stdout and stderr
	changed chan struct{} // closed and replaced when one of them grows
	exited  chan struct{}
}

// stream is what came on one of a process's outputs. The two are apart, because
// the order in which they are read says nothing.
type stream struct {
	text strings.Builder
	seen int // how much of text has been awaited
}

// cmdDaemon is: daemon NAME VAR REGEXP PROG [ARG…]. It starts PROG, waits until
// its output matches, and sets VAR to the first group. The output is in the
// files NAME.stdout and NAME.stderr from then on.
func cmdDaemon(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: daemon NAME VAR REGEXP PROG [ARG…]")
	}
	name, variable, re := args[0], args[1], regexp.MustCompile("(?m)"+args[2])
	path, err := exec.LookPath(args[3])
	if !strings.Contains(args[3], "/") {
		path, err = lookPath(ts.Getenv("PATH"), args[3])
	}
	ts.Check(err)
	cmd := exec.Command(path, args[4:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, kv := range os.Environ() {
		if k, _, _ := strings.Cut(kv, "="); strings.HasPrefix(k, "GO") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, "PATH="+ts.Getenv("PATH"), "HOME="+ts.Getenv("HOME"), "WORK="+ts.Getenv("WORK"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // to end what it starts, too
	d := &daemon{cmd: cmd, changed: make(chan struct{}), exited: make(chan struct{})}
	var reading sync.WaitGroup
	for i, pipe := range []func() (io.ReadCloser, error){cmd.StdoutPipe, cmd.StderrPipe} {
		r, err := pipe()
		ts.Check(err)
		file, err := os.Create(ts.MkAbs(name + []string{".stdout", ".stderr"}[i]))
		ts.Check(err)
		reading.Go(func() {
			defer file.Close()
			d.read(&d.streams[i], r, file)
		})
	}
	ts.Check(cmd.Start())
	go func() {
		reading.Wait()
		_ = cmd.Wait()
		close(d.exited)
	}()
	ts.Defer(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-d.exited
		ts.Logf("[%s]\n%s", name, d.output())
	})
	all := ts.Value(daemonsKey{}).(*daemons)
	all.mu.Lock()
	all.byName[name] = d
	all.mu.Unlock()
	match := d.await(ts, re)
	ts.Setenv(variable, match[len(match)-1])
}

func lookPath(path, prog string) (string, error) {
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, prog)
		if info, err := os.Stat(file); err == nil && !info.IsDir() {
			return file, nil
		}
	}
	return "", fmt.Errorf("%s: %w", prog, exec.ErrNotFound)
}

func (d *daemon) read(s *stream, r io.Reader, file io.Writer) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		_, _ = io.WriteString(file, line)
		d.mu.Lock()
		s.text.WriteString(line)
		close(d.changed)
		d.changed = make(chan struct{})
		d.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (d *daemon) output() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.streams[0].text.String() + d.streams[1].text.String()
}

// match finds re in what hasn't been awaited yet.
func (d *daemon) match(re *regexp.Regexp) ([]string, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.streams {
		s := &d.streams[i]
		rest := s.text.String()[s.seen:]
		if at := re.FindStringSubmatchIndex(rest); at != nil {
			s.seen += at[1]
			return re.FindStringSubmatch(rest), nil
		}
	}
	return nil, d.changed
}

// await waits until the output matches, behind what was awaited before.
func (d *daemon) await(ts *testscript.TestScript, re *regexp.Regexp) []string {
	timeout := time.After(outputWait)
	for {
		match, changed := d.match(re)
		if match != nil {
			return match
		}
		select {
		case <-changed:
		case <-d.exited:
			if match, _ := d.match(re); match != nil {
				return match
			}
			ts.Fatalf("ended without a match for %v; its output:\n%s", re, d.output())
		case <-timeout:
			ts.Fatalf("no match for %v; its output:\n%s", re, d.output())
		}
	}
}

func find(ts *testscript.TestScript, name string) *daemon {
	all := ts.Value(daemonsKey{}).(*daemons)
	all.mu.Lock()
	defer all.mu.Unlock()
	d := all.byName[name]
	if d == nil {
		ts.Fatalf("no daemon %q", name)
	}
	return d
}

// cmdAwait is: await NAME REGEXP. It waits until the daemon's output matches
// behind the last match.
func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await NAME REGEXP")
	}
	find(ts, args[0]).await(ts, regexp.MustCompile("(?m)"+args[1]))
}

var signals = map[string]os.Signal{
	"TERM": syscall.SIGTERM, "INT": os.Interrupt, "HUP": syscall.SIGHUP, "KILL": os.Kill,
	"STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT,
}

// cmdSignal is: signal NAME TERM|INT|HUP|KILL|STOP|CONT.
func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 || signals[args[1]] == nil {
		ts.Fatalf("usage: signal NAME TERM|INT|HUP|KILL|STOP|CONT")
	}
	ts.Check(find(ts, args[0]).cmd.Process.Signal(signals[args[1]]))
}

// cmdEnded is: ended NAME STATUS. It waits for the end of the daemon.
// A negative STATUS stands for a signal.
func cmdEnded(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: ended NAME STATUS")
	}
	d := find(ts, args[0])
	select {
	case <-d.exited:
	case <-time.After(outputWait):
		_ = d.cmd.Process.Signal(syscall.SIGQUIT) // for a stack dump
		<-d.exited
		ts.Fatalf("%s goes on:\n%s", args[0], d.output())
	}
	got := d.cmd.ProcessState.ExitCode()
	if ws, ok := d.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		got = -int(ws.Signal())
	}
	if strconv.Itoa(got) != args[1] {
		ts.Fatalf("%s ended with status %d, want %s:\n%s", args[0], got, args[1], d.output())
	}
}

// cmdHalt is: halt NAME. It sends SIGTERM and wants status 0.
func cmdHalt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: halt NAME")
	}
	cmdSignal(ts, false, []string{args[0], "TERM"})
	cmdEnded(ts, false, []string{args[0], "0"})
}

// cmdStatus is: status N PROG [ARG…]. It is exec with an exact exit status.
func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N PROG [ARG…]")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if ee, ok := errors.AsType[*exec.ExitError](err); ok {
		got = ee.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("status %d, want %s", got, args[0])
	}
}
