package commands

import (
	"strings"
	"testing"
	"time"

	"github.com/wstun/wstun/commands/monitor"
	"github.com/wstun/wstun/commands/terminal"
)

// Text of peers stays in its cell, whatever it has.
func TestStatusTextOfPeers(t *testing.T) {
	t.Parallel()
	now := time.Now()
	st := &monitor.Status{
		Info: monitor.Info{PID: 1, Started: now}, Now: now,
		Sessions: []monitor.Session{{ID: 1, State: "up", Since: now, Remote: "h\tx\n\x1b[2J"}},
		Calls:    []monitor.Call{{Method: "/a\tb\u009b" + strings.Repeat("m", 10_000), Peer: "p\tq\u202e", Begun: now}},
		Ended:    []monitor.Session{{ID: 2, Since: now, Ended: &now, Reason: "r\x1b[31m\nforged"}},
		RPCs:     map[string]uint64{"OK": 1},
	}
	text := statusText([]*monitor.Status{st}, terminal.Colors{})
	lines := strings.Split(text, "\n")
	if strings.ContainsAny(text, "\t\x1b\u009b\u202e") || len(lines) != 11 || !strings.Contains(text, "a b") {
		t.Errorf("%d lines:\n%q", len(lines), text)
	}
	for _, line := range lines {
		if len(line) > 200 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
}
