//go:build unix

package e2e

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// examplePeers are processes, and a recording, that examples use in place of their own.
type examplePeers struct {
	runtimeDir                                runtimeDir
	relay, hub, worker, plain, pid, recording string
}

// runtimeDir is the WSTUN_RUNTIME_DIR of examples, so that wstun status asks only their
// processes. Those of other tests may be stopped, or end meanwhile.
type runtimeDir string

func newRuntimeDir(t *testing.T) runtimeDir {
	t.Helper()
	return runtimeDir("WSTUN_RUNTIME_DIR=" + filepath.Join(t.TempDir(), "run"))
}

// start is startDaemon for wstun.
func (d runtimeDir) start(t *testing.T, args ...string) *process {
	t.Helper()
	return startDaemon(t, "env", append([]string{string(d), "wstun"}, args...)...)
}

func startExamplePeers(t *testing.T) *examplePeers {
	t.Helper()
	dir := newRuntimeDir(t)
	hub := dir.start(t, "serve").find(t, `^(ws://.*)$`)
	dial := dir.start(t, "dial", hub)
	p := &examplePeers{
		runtimeDir: dir,
		hub:        hub, plain: dial.find(t, `^(127\.0\.0\.1:\d+)$`), pid: strconv.Itoa(dial.cmd.Process.Pid),
		worker:    dir.start(t, "dial", "--accept", "127.0.0.1:0").find(t, `^(ws://.*)$`),
		relay:     dir.start(t, "relay", "--accept", "127.0.0.1:0").find(t, `^(ws://.*)$`),
		recording: filepath.Join(t.TempDir(), "recording"),
	}
	runCommand(t, `wstun call --record `+p.recording+` -d '{"text":"a"}' `+hub+` Hub/Echo`)
	return p
}

// run runs an example in a subtest.
func (p *examplePeers) run(t *testing.T, line string) {
	t.Helper()
	t.Run(line, func(t *testing.T) {
		t.Parallel()
		dir := exampleFolder(t, p.recording)
		url := p.hub
		if strings.Contains(line, "wstun serve") {
			url = p.worker // the other end of a server is a client
		}
		p.runtimeDir.runExample(t, dir, strings.NewReplacer(
			"wss://worker.example/v1/ws/sync", url, "wss://relay.example/", p.relay, "ws://127.0.0.1:7070/", url, " URL", " "+url,
			" :9000", " "+p.plain, " 0.0.0.0:8443", " 127.0.0.1:0", " 10.0.3.7:7070", " 127.0.0.1:0", "nats://10.0.3.1,nats://10.0.3.2", "nats://127.0.0.1:1", "4711", p.pid, "--attach PID", "--attach "+p.pid,
		).Replace(line))
	})
}

// TestHelpExamples runs each example of each command's help, with addresses of its own in
// place of the example's. Commands that run until stopped are stopped once they are ready.
func TestHelpExamples(t *testing.T) {
	t.Parallel()
	peers := startExamplePeers(t)
	topics := []string{""}
	for _, m := range regexp.MustCompile(`(?m)^  ([a-z]+) {2,}\S`).FindAllStringSubmatch(runCommand(t, "wstun help"), -1) {
		topics = append(topics, m[1])
	}
	if len(topics) < 10 {
		t.Fatalf("only %q in the help", topics)
	}
	for _, topic := range topics {
		for _, line := range helpExamples(t, topic) {
			peers.run(t, line)
		}
	}
}

// TestDemoExamples runs the commands that wstun demo prints.
func TestDemoExamples(t *testing.T) {
	t.Parallel()
	dir := newRuntimeDir(t)
	demo := dir.start(t, "demo")
	lines := regexp.MustCompile(`(?m)^  (wstun .*?) +# `).FindAllStringSubmatch(demo.find(t, `(?s)^(Try in other terminals.*)The tunnel stays up`), -1)
	if len(lines) < 6 {
		t.Fatalf("only %q", lines)
	}
	for _, line := range lines {
		t.Run(line[1], func(t *testing.T) {
			t.Parallel()
			dir.runExample(t, t.TempDir(), line[1])
		})
	}
}

// helpExamples returns the examples in the help of a command.
func helpExamples(t *testing.T, command string) (lines []string) {
	t.Helper()
	help := runCommand(t, "wstun help "+command)
	for _, m := range regexp.MustCompile(`(?m)^  \$ ((?:.*\\\n)*.*)$`).FindAllStringSubmatch(help, -1) {
		lines = append(lines, m[1])
	}
	if len(lines) == 0 {
		t.Errorf("no examples in the help of %s:\n%s", command, help)
	}
	return lines
}

// exampleFolder returns a folder with the files that examples use, without hub.rec if
// recording is "".
func exampleFolder(t *testing.T, recording string) string {
	t.Helper()
	dir := t.TempDir()
	writeCertificates(dir, 100*24*time.Hour, func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	})
	proto, err := filepath.Abs("commands/demo/hub.proto")
	if err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"cert.pem": "example.pem", "key.pem": "example.key", "hub.proto": proto, "api": filepath.Dir(proto),
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	files := map[string]string{
		"token":       "s3cret-token\n",
		"config.yaml": "targets: {staging: {url: 'wss://worker.example/v1/ws/sync'}}\n",
		"hub.yaml":    "methods:\n  wstun.demo.v1.Hub/CreateKey:\n    - reply: {name: k1}\n",
		"policy.yaml": "tokens: []\n",
		"script":      "call Echo {\"text\": \"a\"}\n",
	}
	if recording != "" {
		text, err := os.ReadFile(recording)
		if err != nil {
			t.Fatal(err)
		}
		files["recording"], files["hub.rec"] = string(text), string(text) // examples also overwrite hub.rec
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// runExample runs a command line in bash, and requires exit status 0.
func (d runtimeDir) runExample(t *testing.T, dir, line string) {
	t.Helper()
	for _, program := range []string{"bash", "man", "jq"} {
		isUsed := program == "bash" || strings.Contains(line, "&& "+program) || strings.Contains(line, "| "+program)
		if _, err := exec.LookPath(program); err != nil && isUsed {
			t.Skip(program, " is not installed")
		}
	}
	stops := regexp.MustCompile(`^wstun (serve|dial|tap|relay|demo|trace --attach|inspect)\b`).MatchString(line) && !strings.Contains(line, " -- ") && !strings.Contains(line, "--once")
	if stops {
		line = "exec " + line // for the signal
	}
	cmd := exec.Command("bash", "-c", line)
	cmd.Dir, cmd.Env = dir, append(environ(), "HOME="+dir, string(d))
	p, err := startProcess(cmd, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer p.kill()
	if stops {
		ready := `msg=ready|msg=attached|until Ctrl-C|#token=`
		if strings.Contains(line, "dial --accept") {
			ready = `msg=listening` // ready needs a session
		}
		p.find(t, ready)
		if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
	}
	if status, err := p.exitStatus(); err != nil || status != 0 {
		t.Errorf("$ %s\nstatus %d, %v\n%s", line, status, err, p)
	}
}
