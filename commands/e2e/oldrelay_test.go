//go:build unix && !race

package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// beforeRelays is a commit without relays, and the first whose sessions are those of
// package mux.
const beforeRelays = "e773cd9c8ed6093b462534dcaa49d97dfbca21ab"

// TestOldBinary connects a Worker and engineers that know nothing of relays: they name the
// path and the subprotocol themselves.
func TestOldBinary(t *testing.T) {
	t.Parallel()
	if exec.Command("git", "cat-file", "-e", beforeRelays+"^{commit}").Run() != nil {
		t.Skip("the history isn't available")
	}
	dir := t.TempDir()
	old := filepath.Join(dir, "old")
	build := exec.Command("sh", "-c", `git archive "$1" | tar -x -C "$2" && cd "$2" && go build -buildvcs=false -o "$3" .`, "sh", beforeRelays, dir, old)
	if out, err := build.CombinedOutput(); err != nil {
		t.Skipf("the commit can't be built, perhaps because its modules aren't available: %v\n%s", err, out)
	}
	relay := startDaemon(t, "wstun", "relay", "--accept", "127.0.0.1:0")
	base := relay.find(t, `^(ws://.*)/$`)
	url := base + "/v1/worker/w-1"
	startDaemon(t, old, "serve", "--subprotocol", "wstun.serve.v1", url)
	relay.find(t, `(worker connected)`)

	if out := runCommand(t, old+" list --subprotocol wstun.dial.v1 "+url); !strings.Contains(out, "wstun.demo.v1.Hub") {
		t.Errorf("list by the old binary = %q", out)
	}
	echo := ` -d '{"text":"hi"}' `
	if out := runCommand(t, old+" call --subprotocol wstun.dial.v1"+echo+url+" Hub/Echo"); !strings.Contains(out, `"text":"hi"`) {
		t.Errorf("call by the old binary = %q", out)
	}
	if out := runCommand(t, "wstun call --to w-1"+echo+base+" Hub/Echo"); !strings.Contains(out, `"text":"hi"`) {
		t.Errorf("call by the new binary = %q", out)
	}
	dial := startDaemon(t, old, "dial", "--listen", "127.0.0.1:0", "--subprotocol", "wstun.dial.v1", url)
	if out := runCommand(t, "grpcurl -plaintext "+dial.find(t, `^(127.*)$`)+" list"); !strings.Contains(out, "wstun.demo.v1.Hub") {
		t.Errorf("grpcurl through dial of the old binary = %q", out)
	}
}
