//go:build unix

// Package e2e tests the built program as its users run it: as processes.
//
// TestMain builds wstun once, with the race detector if the tests run with it,
// and puts it on PATH beside the grpcurl that go.mod names. The tests run in
// the repository's top-level folder. TestScripts runs testdata/script/*.txtar,
// which are testscript's, with two verbs above all:
//
//	daemon NAME VAR REGEXP PROG [ARG…]   start PROG, wait until its output matches, set VAR to the match
//	halt NAME                            send SIGTERM and require status 0 (testscript's own stop ends a script)
//
// The other verbs are in script_test.go. Servers listen on port 0 and nothing
// sleeps. The servers, proxies and clients that scripts need besides wstun are
// functions of the test binary, listed in programs.
package e2e

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// programs are run by their names, as processes of the test binary.
var programs = map[string]func(){
	"webpage":     webpage,
	"hangup":      hangup,
	"proxy":       proxy,
	"relay":       tcpRelay,
	"grpcserver":  grpcserver,
	"load":        load,
	"oddserver":   oddserver,
	"limitedhub":  limitedhub,
	"fleetload":   fleetload,
	"natsserver":  natsserver,
	"natscluster": natscluster,
	"oidc":        oidc,
	"oidctoken":   oidctoken,
	"incident":    incident,
}

func TestMain(m *testing.M) { testscript.Main(tests{m}, programs) }

// tests runs the tests, unless the process is one of programs.
type tests struct{ m *testing.M }

func (t tests) Run() int {
	bin, err := os.MkdirTemp("", "wstun-e2e")
	if err == nil {
		defer os.RemoveAll(bin)
		// With the race detector, each process would sleep for a second at its end.
		err = errors.Join(os.Chdir(filepath.Join("..", "..")), os.Setenv("GORACE", "atexit_sleep_ms=0"),
			os.Setenv("WSTUN_RUNTIME_DIR", filepath.Join(bin, "run")), install(bin))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// Most of a test's time is waiting. A -parallel on the command line is parsed later.
	_ = flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0)))
	status := t.m.Run()
	if err := goleak.Find(tunneltest.LingeringHTTP()); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return status
}

// install puts wstun and grpcurl into bin, and bin onto PATH.
func install(bin string) error {
	build := exec.Command("go", append(append([]string{"build"}, raceFlags...), "-buildvcs=false", "-o", bin, ".")...)
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", build, err, out)
	}
	grpcurl, err := exec.Command("go", "tool", "-n", "grpcurl").Output()
	if err != nil {
		return fmt.Errorf("go tool -n grpcurl: %w", err)
	}
	return errors.Join(
		os.Symlink(strings.TrimSpace(string(grpcurl)), filepath.Join(bin, "grpcurl")),
		os.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH")))
}

// skipWithRace skips a test that takes long with the race detector, which has nothing to
// find there: the test reads files, is about output or mistakes alone, sends much data through
// code that other tests run with it, or repeats their calls with other programs.
func skipWithRace(t *testing.T) {
	t.Helper()
	if len(raceFlags) > 0 {
		t.Skip("the race detector has nothing to find")
	}
}

// readSources looks at the files that wstun is built from, because the test binary
// doesn't contain them: the go command reports a cached result only while the files are
// unchanged that a test has opened. It notices those opened during a test, and resolves
// their paths in the package's folder unless they are absolute.
var readSources = sync.OnceValue(func() error {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (path != root && strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules") {
			return fs.SkipDir
		}
		return err
	})
})
