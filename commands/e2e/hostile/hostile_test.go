//go:build linux

// Package hostile attacks the built program over loopback, as its peers could:
// each attack meets a process of its own and, beside it, an innocent client.
//
//	go test -v ./commands/e2e/hostile                          # all attacks
//	go test -v -run 'TestAttacks/header' ./commands/e2e/hostile
//
// A process under attack must stay alive, answer every innocent call, hold no more
// memory than the attack's row in a table allows, free it when the attacker has gone,
// and end on SIGTERM. Each row's figures are in the log. The tests run one after the
// other, because they measure memory and time.
//
// The program is the product plus testdata/probe.go, which reports its live heap.
package hostile

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

// build builds the program: static, with the probe in it.
func build(t *testing.T) program {
	t.Helper()
	readSources(t)
	dir := t.TempDir()
	path, overlay := filepath.Join(dir, "wstun"), filepath.Join(dir, "overlay.json")
	added, err := json.Marshal(map[string]any{"Replace": map[string]string{
		absolute(t, filepath.Join(root, "probe.go")): absolute(t, filepath.Join("testdata", "probe.go")),
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, added, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-overlay", overlay, "-o", path, ".")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return program{path: path}.with(fmt.Sprintf("ulimit -v %d", addressSpace))
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// readSources looks at the files that the program is built from, so that the go command
// doesn't reuse a test result after one has changed.
func readSources(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(absolute(t, root), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
