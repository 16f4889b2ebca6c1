//go:build unix

package e2e

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// readSection returns a section of a file: from its heading up to the next one of the same
// level.
func readSection(t *testing.T, path, heading string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("%s has no section %q", path, heading)
	}
	level, _, _ := strings.Cut(heading, " ")
	section, _, _ = strings.Cut(section, "\n"+level+" ")
	return section
}

// blocks returns the code blocks of one kind in a text.
func blocks(text, kind string) (list []string) {
	for _, m := range regexp.MustCompile("(?s)```"+kind+"\n(.*?)```").FindAllStringSubmatch(text, -1) {
		list = append(list, m[1])
	}
	return list
}

// TestReadmeTerminals runs the terminals of the README's introduction, with a file and
// ports of its own in place of theirs, and compares the output.
func TestReadmeTerminals(t *testing.T) {
	t.Parallel()
	terminals := blocks(readSection(t, "README.md", "## A call into a stubbed Hub"), "console")
	if len(terminals) != 3 {
		t.Fatalf("%d terminals, want 3", len(terminals))
	}
	replaced := []string{"hub.yaml", filepath.Join(t.TempDir(), "hub.yaml")}
	for _, step := range regexp.MustCompile(`(?m)^\$ `).Split(strings.Join(terminals, ""), -1)[1:] {
		command, want, _ := strings.Cut(step, "\n")
		if strings.HasSuffix(command, "<<'END'") {
			command, want = step, ""
		}
		command = strings.NewReplacer(replaced...).Replace(command)
		background, runs := strings.CutSuffix(command, " &")
		if !runs && !strings.HasPrefix(command, "wstun serve") {
			// As on a terminal, responses have several lines. Calls may fail, as in the README.
			if got := runCommand(t, "export WSTUN_PRETTY=true; { "+strings.TrimSuffix(command, "\n")+"\n} 2>&1 || true"); got != want {
				t.Errorf("$ %s\n%swant\n%s", command, got, want)
			}
			continue
		}
		got, port := startCommand(t, background), regexp.MustCompile(`:\d+`)
		if port.ReplaceAllString(got, "") != port.ReplaceAllString(want, "") {
			t.Fatalf("$ %s\n%swant\n%s", command, got, want)
		}
		replaced = append(replaced, port.FindString(want), port.FindString(got))
	}
}

// TestReadmeCommandLines runs the command lines in the README's other blocks and in its
// tables "to", as TestHelpExamples does.
func TestReadmeCommandLines(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, block := range append(blocks(string(readme), "sh"), blocks(string(readme), "bash")...) {
		lines = append(lines, regexp.MustCompile(`(?m)^wstun .*`).FindAllString(block, -1)...)
	}
	for _, table := range regexp.MustCompile(`(?m)^\| to .*\n(\|.*\n)+`).FindAllString(string(readme), -1) {
		for _, m := range regexp.MustCompile("`(wstun [^`]+)`").FindAllStringSubmatch(table, -1) {
			lines = append(lines, m[1])
		}
	}
	if len(lines) < 20 {
		t.Fatalf("only %q", lines)
	}
	peers := startExamplePeers(t)
	for _, line := range lines {
		peers.run(t, line)
	}
}

// TestReadmeErrors brings about the errors in the README's section on troubleshooting, in
// their order.
func TestReadmeErrors(t *testing.T) {
	t.Parallel()
	dir := exampleFolder(t, "")
	hub := startDaemon(t, "wstun", "serve").find(t, `^ws://(.*)/$`)
	guarded := startDaemon(t, "wstun", "serve", "--path", "/v1/ws/sync", "--token-file", dir+"/token").find(t, `^(ws://.*/)v1/ws/sync$`)
	secure := startDaemon(t, "wstun", "serve", "--cert", dir+"/cert.pem", "--key", dir+"/key.pem").find(t, `^(wss://.*)$`)
	client := startDaemon(t, "wstun", "dial", "--accept", "127.0.0.1:0").find(t, `^(ws://.*)$`)
	down := startDaemon(t, "wstun", "dial", "--wait", "1ms", "ws://127.0.0.1:1/").find(t, `^(127\.0\.0\.1:\d+)$`)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	defer proxy.Close()
	commands := []string{
		"list ws://127.0.0.1:1/",
		"list " + guarded + "v1/ws/sync",
		"list --token-file " + dir + "/token " + guarded,
		"list wss://" + hub + "/",
		"list " + secure,
		"list --proxy " + proxy.URL + " ws://hub.example/",
		"list " + client,
		"list " + hub,
		"call --proto " + dir + "/hub.proto " + down + " Hub/Echo {}",
		"serve --accept 0.0.0.0:0",
	}
	rows := regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(readSection(t, "README.md", "## Troubleshooting"), -1)
	if len(rows) != len(commands) {
		t.Fatalf("%d errors, want %d", len(rows), len(commands))
	}
	for i, command := range commands {
		text, _, _ := strings.Cut(rows[i][1], "…")
		if got := runCommand(t, "wstun "+command+" 2>&1 || true"); !strings.Contains(got, text) {
			t.Errorf("$ wstun %s\n%swant %q", command, got, text)
		}
	}
}

// The manual's examples for jq print something for a recording of the demo.
func TestManualRecording(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("jq"); err != nil {
		t.Skip("jq is not installed: ", err)
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
	examples := regexp.MustCompile("(?m)^jq .*").FindAllString(readSection(t, "commands/REFERENCE.md", "## Recordings"), -1)
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
	example, err := os.ReadFile("tunnel/wsmux/wsmux_example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	block := blocks(readSection(t, "README.md", "## Library"), "go")
	if len(block) != 1 || !strings.Contains(unindent(string(example)), unindent(block[0])) {
		t.Errorf("the README's example is not the one that the package's tests run:\n%q", block)
	}
}

func unindent(s string) string { return regexp.MustCompile(`(?m)^\t+`).ReplaceAllString(s, "") }

// TestLinks looks up the relative links of the README, the manual and the recipes, also their anchors.
func TestLinks(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"README.md", "commands/REFERENCE.md", "commands/RECIPES.md"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		links := regexp.MustCompile(`(?:\]\(|(?:src|srcset)=")([^)"]+)`).FindAllStringSubmatch(string(text), -1)
		for _, link := range links {
			to, anchor, _ := strings.Cut(link[1], "#")
			if strings.Contains(to, "://") {
				continue
			}
			if to = filepath.Join(filepath.Dir(path), to); strings.HasPrefix(link[1], "#") {
				to = path
			}
			target, err := os.ReadFile(to)
			if _, serr := os.Stat(to); serr != nil || anchor != "" && (err != nil || !anchors(string(target))[anchor]) {
				t.Errorf("%s: no %s", path, link[1])
			}
		}
	}
}

// anchors returns the anchors that GitHub gives the headings of a text.
func anchors(text string) map[string]bool {
	all := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		name := regexp.MustCompile(`[^\w -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		all[strings.ReplaceAll(name, " ", "-")] = true
	}
	return all
}
