//go:build unix

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReadmeQuickStart runs the README's quick start, with two free ports in
// place of the default ones, and compares the output.
func TestReadmeQuickStart(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n## Quick start\n")
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(section, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d terminals in the quick start, want 2", len(blocks))
	}
	ports := strings.NewReplacer() // the README's ports by those of this run
	var replaced []string
	for _, block := range blocks {
		for _, step := range strings.Split("\n"+block[1], "\n$ ")[1:] {
			command, want, _ := strings.Cut(step, "\n")
			want = strings.TrimRight(want, "\n") + "\n"
			command = ports.Replace(command)
			background, isBackground := strings.CutSuffix(command, " &")
			if !isBackground && !strings.HasSuffix(command, " serve") {
				if got := runCommand(t, command); got != want {
					t.Errorf("$ %s\n%swant\n%s", command, got, want)
				}
				continue
			}
			got := startCommand(t, background)
			port := regexp.MustCompile(`:(\d+)`)
			if port.ReplaceAllString(got, "") != port.ReplaceAllString(want, "") {
				t.Fatalf("$ %s\n%swant\n%s", command, got, want)
			}
			replaced = append(replaced, port.FindString(want), port.FindString(got))
			ports = strings.NewReplacer(replaced...)
		}
	}
}

// The README's examples for jq print something for a recording of the demo.
func TestReadmeRecording(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("jq"); err != nil {
		t.Skip("no jq: ", err)
	}
	dir := t.TempDir()
	serve := startDaemon(t, "wstun", "serve", "--accept", "127.0.0.1:0", "--record", filepath.Join(dir, "hub.rec"))
	url := serve.find(t, `^ws://\S+$`)
	runCommand(t, "wstun shell "+url+` <<'END'
call CreateKey {"name":"z9"}
call DeleteKey {"name":"none"}
call Sleep {"duration":"0.2s"}
END`)
	_ = serve.cmd.Process.Signal(os.Interrupt)
	if status, err := serve.exitStatus(); status != 0 || err != nil {
		t.Fatal(status, err)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n## Recording\n")
	section, _, _ = strings.Cut(section, "\n## ")
	examples := regexp.MustCompile("(?m)^jq .*").FindAllString(section, -1)
	if len(examples) < 3 {
		t.Errorf("%d examples for jq", len(examples))
	}
	for _, example := range examples {
		if runCommand(t, "cd "+dir+" && "+example) == "" {
			t.Errorf("$ %s\nprints nothing", example)
		}
	}
}

// The README's library example is the package's, except for the indentation.
func TestReadmeLibraryExample(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("tunnel/wsmux/wsmux_example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```go\n(.*?)```").FindSubmatch(readme)
	if block == nil {
		t.Fatal("no example in the README")
	}
	if !strings.Contains(unindent(string(example)), unindent(string(block[1]))) {
		t.Error("the README's example is not the one that the package's tests run")
	}
}

func unindent(s string) string { return regexp.MustCompile(`(?m)^\t+`).ReplaceAllString(s, "") }
