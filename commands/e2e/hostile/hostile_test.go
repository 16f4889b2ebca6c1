//go:build linux && !race

// Package hostile attacks the built program over loopback, as its peers could:
// each attack meets a process of its own and, beside it, an innocent client.
//
//	go test -v ./commands/e2e/hostile                          # all attacks
//	go test -v -run 'TestAttacks/header' ./commands/e2e/hostile
//
// A process under attack must stay alive, answer every innocent call, hold no more
// memory than the attack's row in a table allows, free it when the attacker has gone,
// and end on SIGTERM. Each row's figures are in the log. Attacks that need much memory run
// one after the other.
//
// The program is the product plus testdata/probe.go, which reports its live heap. The
// race detector would slow down only the attackers.
package hostile

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// buildDir is the folder of the built program; empty until built makes it.
var buildDir string

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(buildDir)
		os.Exit(code) //nolint:forbidigo // as VerifyTestMain does without Cleanup
	}))
}

// addressSpace bounds a victim in KiB, so that a successful attack ends the victim and
// not the machine. A Go program reserves more than a GiB that it doesn't use.
const addressSpace = 4 << 20

// root is the repository's top-level folder.
var root = filepath.Join("..", "..", "..")

// program is the built program, and the shell commands that prepare the process for it.
type program struct {
	path    string
	prepare string
}

// with adds shell commands.
func (p program) with(prepare string) program {
	p.prepare += prepare + "; "
	return p
}

// build returns the program.
func build(t *testing.T) program {
	t.Helper()
	readSources(t)
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return program{path: path}.with(fmt.Sprintf("ulimit -v %d", addressSpace))
}

// built builds the program: static, with the probe in it. It returns the path.
var built = sync.OnceValues(func() (string, error) {
	repository, err := filepath.Abs(root)
	if err != nil {
		return "", err
	}
	probe, err := filepath.Abs(filepath.Join("testdata", "probe.go"))
	if err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(repository, "probe.go"): probe}})
	if err != nil {
		return "", err
	}
	if buildDir, err = os.MkdirTemp("", "wstun-hostile-"); err != nil {
		return "", err
	}
	path := filepath.Join(buildDir, "wstun")
	if err := os.WriteFile(path+".json", overlay, 0o600); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(context.Background(), "go", "build", "-buildvcs=false", "-overlay", path+".json", "-o", path, ".")
	cmd.Dir, cmd.Env = repository, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return path, nil
})

// readSources looks at the files that the program is built from, so that the go command
// doesn't reuse a test result after one has changed.
func readSources(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
