//go:build unix && !race

package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// firstPromise is the commit whose program must be compatible until there is a version
// 1.0: the first whose sessions are those of package mux. It has no relays.
const firstPromise = "e773cd9c8ed6093b462534dcaa49d97dfbca21ab"

// buildOld builds wstun of the latest version from 1.0 on, or of firstPromise.
func buildOld(t *testing.T) string {
	t.Helper()
	tag, _ := exec.CommandContext(t.Context(), "git", "describe", "--tags", "--abbrev=0", "--match", "v[1-9]*", "HEAD^").Output() // a tag at HEAD is this version
	commit := cmp.Or(strings.TrimSpace(string(tag)), firstPromise)
	if exec.CommandContext(t.Context(), "git", "cat-file", "-e", commit+"^{commit}").Run() != nil {
		t.Skip("the history isn't available")
	}
	dir := t.TempDir()
	old := filepath.Join(dir, "old")
	build := exec.CommandContext(t.Context(), "sh", "-c", `git archive "$1" | tar -x -C "$2" && cd "$2" && go build -buildvcs=false -o "$3" .`, "sh", commit, dir, old)
	if out, err := build.CombinedOutput(); err != nil {
		t.Skipf("the old commit can't be built, perhaps because its modules aren't available: %v\n%s", err, out)
	}
	return old
}

// TestOldBinary compares wstun with an old one: the flags, exit statuses and JSON that it
// had remain, and sessions work between both.
func TestOldBinary(t *testing.T) {
	t.Parallel()
	old := buildOld(t)
	for name, test := range map[string]func(t *testing.T, old string){
		"flags": testOldFlags, "exit statuses": testOldStatuses, "JSON": testOldJSON, "relay": testOldWithRelay,
		"old serve": func(t *testing.T, old string) { t.Helper(); testSessions(t, old, "wstun") },
		"old dial":  func(t *testing.T, old string) { t.Helper(); testSessions(t, "wstun", old) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, old)
		})
	}
}

const oldEcho = ` -d '{"text":"hi"}' `

// mustHave fails t unless the output of a shell command has text.
func mustHave(t *testing.T, text, command string) {
	t.Helper()
	if out := runCommand(t, command); !strings.Contains(out, text) {
		t.Errorf("%s = %q, want %s in it", command, out, text)
	}
}

// testSessions connects serve of one program and dial of another. Each is the accepting side
// once.
func testSessions(t *testing.T, server, client string) {
	t.Helper()
	through := func(dial *process) {
		mustHave(t, "wstun.demo.v1.Hub", "grpcurl -plaintext "+dial.find(t, `^(127\.0\.0\.1:\d+)$`)+" list")
	}
	url := startDaemon(t, server, "serve").find(t, `^(ws://.*)$`)
	mustHave(t, `"text":"hi"`, client+" call"+oldEcho+url+" Hub/Echo")
	mustHave(t, "wstun.demo.v1.Hub", client+" list "+url)
	through(startDaemon(t, client, "dial", url))

	dial := startDaemon(t, client, "dial", "--accept", "127.0.0.1:0")
	startDaemon(t, server, "serve", dial.find(t, `^(ws://.*)$`)).find(t, `msg=ready`)
	through(dial)
}

// testOldWithRelay connects a Worker and engineers to a relay. They may know nothing of
// relays: they name the path and the subprotocol themselves.
func testOldWithRelay(t *testing.T, old string) {
	t.Helper()
	relay := startDaemon(t, "wstun", "relay", "--accept", "127.0.0.1:0")
	base := relay.find(t, `^(ws://.*)/$`)
	const engineer = " --subprotocol wstun.dial.v1 "
	for name, server := range map[string]string{"w-1": old, "w-2": "wstun"} {
		url := base + "/v1/worker/" + name
		startDaemon(t, server, "serve", "--subprotocol", "wstun.serve.v1", url).find(t, `msg=ready`)
		mustHave(t, "wstun.demo.v1.Hub", old+" list"+engineer+url)
		mustHave(t, `"text":"hi"`, old+" call"+engineer+oldEcho+url+" Hub/Echo")
		mustHave(t, `"text":"hi"`, "wstun call --to "+name+oldEcho+base+" Hub/Echo")
		dial := startDaemon(t, old, "dial", "--subprotocol", "wstun.dial.v1", url)
		mustHave(t, "wstun.demo.v1.Hub", "grpcurl -plaintext "+dial.find(t, `^(127.*)$`)+" list")
	}
}

// testOldFlags finds the flags of the old commands in the help of the new ones.
func testOldFlags(t *testing.T, old string) {
	t.Helper()
	flags := func(program, command string) (names []string) {
		help := runCommand(t, fmt.Sprintf("%[1]s help %[2]s --all 2>/dev/null || %[1]s %[2]s --help", program, command))
		for _, m := range regexp.MustCompile(`(?m)(?:^|[ ,])--?([a-z][a-z0-9-]*)`).FindAllStringSubmatch(help, -1) {
			names = append(names, m[1])
		}
		return names
	}
	commands := regexp.MustCompile(`(?m)^ +([a-z]+) {2,}\S`).FindAllStringSubmatch(runCommand(t, old+" --help"), -1)
	if len(commands) < 10 {
		t.Fatalf("commands %q", commands)
	}
	for _, m := range commands {
		if m[1] == "help" {
			continue
		}
		kept := append(flags("wstun", m[1]), "help", "h")
		for _, name := range flags(old, m[1]) {
			if !slices.Contains(kept, name) {
				t.Errorf("%s no longer has --%s", m[1], name)
			}
		}
	}
}

// testOldStatuses compares exit statuses.
func testOldStatuses(t *testing.T, old string) {
	t.Helper()
	hub := startDaemon(t, "wstun", "serve").find(t, `^(ws://.*)$`)
	page := startDaemon(t, "webpage").find(t, `^(127.*)$`)
	const closed = "ws://127.0.0.1:1/"
	for _, args := range []string{
		"version", "nonsense", "serve --nonsense", "dial --accept 127.0.0.1:0 --path x", "call " + hub, "completion nonsense",
		"list " + hub, "call" + oldEcho + hub + " Hub/Echo", "call " + hub + " Hub/DeleteKey", "call " + hub + " Hub/None",
		"list " + closed, "dial --max-retries 0 " + closed, "serve --max-retries 0 " + closed, "dial --max-retries 0 ws://" + page + "/",
		"check " + hub, "check " + closed, "check ws://" + page + "/", "check ws://name.invalid/",
		"dial " + hub + " -- sh -c 'exit 9'", "dial " + hub + " -- /no/such/command", "dial " + hub + " -- sh -c 'kill -TERM $$'",
		"shell " + hub + " <<.\ncall Echo {}\n.", "shell " + hub + " <<.\nnonsense\n.",
	} {
		status := func(program string) int {
			cmd := exec.CommandContext(t.Context(), "sh", "-c", program+" "+args)
			cmd.Env = environ()
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState == nil {
				t.Fatalf("%s: %v\n%s", args, err, out)
			}
			return cmd.ProcessState.ExitCode()
		}
		if want, got := status(old), status("wstun"); got != want {
			t.Errorf("wstun %s: status %d, and %d before", args, got, want)
		}
	}
}

// testOldJSON compares the members of JSON output: there may be more, but none less.
func testOldJSON(t *testing.T, old string) {
	t.Helper()
	hub := startDaemon(t, "wstun", "serve").find(t, `^(ws://.*)$`)
	const closed = "ws://127.0.0.1:1/"
	members := func(program string) map[string]string {
		serve := startDaemon(t, program, "serve", "--output", "json")
		runCommand(t, "wstun list "+serve.find(t, `"listening".*"url":"(ws://[^"]*)"`))
		serve.find(t, `(session_down)`)
		serve.kill()
		all := map[string]string{}
		addMembers(t, all, string(serve.streams[0]))
		addMembers(t, all, runCommand(t, program+" dial --output json --max-retries 1 "+closed+" 2>/dev/null || true"))
		addMembers(t, all, runCommand(t, program+" check --output json "+hub))
		addMembers(t, all, runCommand(t, program+" check --output json "+closed+" || true"))
		addMembers(t, all, runCommand(t, program+" call --output json"+oldEcho+hub+" Hub/Echo"))
		addMembers(t, all, runCommand(t, program+" call --output json "+hub+" Hub/DeleteKey 2>/dev/null || true"))
		return all
	}
	want, got := members(old), members("wstun")
	if len(want) < 40 {
		t.Fatalf("only %v", want)
	}
	for path, kind := range want {
		if got[path] != kind {
			t.Errorf("the type of %s is %q, and was %q before", path, got[path], kind)
		}
	}
}

// addMembers adds the types of the members of objects, one a line, by their paths.
func addMembers(t *testing.T, all map[string]string, lines string) {
	t.Helper()
	for line := range strings.Lines(lines) {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		event, _ := object["event"].(string)
		addTypes(all, event, object)
	}
}

func addTypes(all map[string]string, path string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			addTypes(all, path+"."+name, member)
		}
	case []any:
		for _, element := range v {
			addTypes(all, path+"[]", element)
		}
	}
	all[path] = fmt.Sprintf("%T", value)
}
