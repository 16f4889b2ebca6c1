//go:build unix

package e2e

import (
	"errors"
	"fmt"
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
)

// TestScripts runs the scripts, each of which has a folder and daemons of its own.
func TestScripts(t *testing.T) {
	t.Parallel()
	root, err := os.Getwd()
	if err = errors.Join(err, readSources()); err != nil {
		t.Fatal(err)
	}
	refuseStop(t)
	if signal.Ignored(syscall.SIGHUP) { // under nohup; the scripts' processes must not inherit that
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			// With -race each process would otherwise sleep for a second before it ends.
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			env.Setenv("ROOT", root)
			env.Setenv("WSTUN_RUNTIME_DIR", filepath.Join(env.WorkDir, ".run")) // for wstun status
			env.Values[daemonsKey{}] = &daemons{byName: map[string]*process{}}
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
			"page":   cmdPage,
		},
		Condition: func(cond string) (bool, error) {
			if cond == "long" { // scripts that take minutes because they test the passing of time
				return os.Getenv("WSTUN_LONG_TESTS") != "", nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// refuseStop fails if a script says stop NAME: testscript's own stop would end
// that script as passed.
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

type daemonsKey struct{}

// daemons are the processes that one script has started.
type daemons struct {
	mu     sync.Mutex
	byName map[string]*process
}

// cmdDaemon is: daemon NAME VAR REGEXP PROG [ARG…]. It starts PROG, waits until
// its output matches, and sets VAR to the last group. From then on the files
// NAME.stdout and NAME.stderr have the output.
func cmdDaemon(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: daemon NAME VAR REGEXP PROG [ARG…]")
	}
	name, variable, re := args[0], args[1], regexp.MustCompile("(?m)"+args[2])
	path, err := lookPath(ts.Getenv("PATH"), args[3])
	ts.Check(err)
	cmd := exec.Command(path, args[4:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, kv := range os.Environ() {
		if strings.HasPrefix(kv, "GO") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, "PATH="+ts.Getenv("PATH"), "HOME="+ts.Getenv("HOME"), "WORK="+ts.Getenv("WORK"), "WSTUN_RUNTIME_DIR="+ts.Getenv("WSTUN_RUNTIME_DIR"))
	stdout, err := os.Create(ts.MkAbs(name + ".stdout"))
	ts.Check(err)
	stderr, err := os.Create(ts.MkAbs(name + ".stderr"))
	ts.Check(err)
	p, err := startProcess(cmd, stdout, stderr)
	ts.Check(err)
	ts.Defer(func() {
		p.kill()
		stdout.Close()
		stderr.Close()
		ts.Logf("[%s]\n%s", name, p)
	})
	all := ts.Value(daemonsKey{}).(*daemons)
	all.mu.Lock()
	all.byName[name] = p
	all.mu.Unlock()
	match, err := p.await(re)
	ts.Check(err)
	ts.Setenv(variable, match[len(match)-1])
}

// lookPath is exec.LookPath for a path of the script's own.
func lookPath(path, prog string) (string, error) {
	if strings.Contains(prog, "/") {
		return exec.LookPath(prog)
	}
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, prog)
		if info, err := os.Stat(file); err == nil && !info.IsDir() {
			return file, nil
		}
	}
	return "", fmt.Errorf("%s: %w", prog, exec.ErrNotFound)
}

func findDaemon(ts *testscript.TestScript, name string) *process {
	all := ts.Value(daemonsKey{}).(*daemons)
	all.mu.Lock()
	defer all.mu.Unlock()
	p := all.byName[name]
	if p == nil {
		ts.Fatalf("no daemon %q", name)
	}
	return p
}

// cmdAwait is: await NAME REGEXP. It waits until the daemon's output matches,
// after the previous match.
func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await NAME REGEXP")
	}
	_, err := findDaemon(ts, args[0]).await(regexp.MustCompile("(?m)" + args[1]))
	ts.Check(err)
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
	ts.Check(findDaemon(ts, args[0]).cmd.Process.Signal(signals[args[1]]))
}

// cmdEnded is: ended NAME STATUS. It waits for the end of the daemon.
// A negative STATUS stands for a signal.
func cmdEnded(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: ended NAME STATUS")
	}
	p := findDaemon(ts, args[0])
	got, err := p.exitStatus()
	ts.Check(err)
	if strconv.Itoa(got) != args[1] {
		ts.Fatalf("%s ended with status %d, want %s:\n%s", args[0], got, args[1], p)
	}
}

// cmdHalt is: halt NAME. It sends SIGTERM and requires status 0.
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

// cmdCerts is: certs. It calls writeCertificates.
func cmdCerts(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: certs")
	}
	writeCertificates(ts.MkAbs("."), time.Hour, ts.Check)
}
