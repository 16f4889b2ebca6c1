//go:build unix

package e2e

import (
	"fmt"
	"path/filepath"
	"testing"
)

// recordedServer is a server of the demo service, and a tunnel to it that records.
type recordedServer struct {
	name, addr string
	isHub      bool
	recording  string
	dial       *process
	tunnel     string // its address for clients
}

// replay starts a replay of another server's recording against s. The result waits for its end,
// and expects that all calls, so many, are the same.
func (s *recordedServer) replay(t *testing.T, from *recordedServer, filter string, calls int) (wait func()) {
	t.Helper()
	args := []string{"replay", "--compare-metadata", "--filter", filter, "--ignore", "google.protobuf.Timestamp"} // create_time, and ticks
	if s.isHub != from.isHub {
		// Only the Hub describes the resource of an error, and only the other servers return metadata.
		args = append(args, "--ignore", "status.details.description", "--ignore", "header.x-echo*", "--ignore", "trailer.x-echo*")
	}
	p := startDaemon(t, "wstun", append(args, from.recording, s.addr)...)
	return func() {
		t.Helper()
		status, err := p.exitStatus()
		if want := fmt.Sprintf("%d calls: %[1]d same\n", calls); status != 0 || err != nil || p.String() != want {
			t.Errorf("the recording of %s at %s, %s: status %d, %v; it prints\n%swant %s", from.name, s.name, filter, status, err, p, want)
		}
	}
}

// Each recording of a server in Go, Node and Python, with the calls of clients in these
// languages, is the same at each server.
func TestReplayInterop(t *testing.T) {
	t.Parallel()
	node, python := node(t), python(t)
	const address = `^127\.0\.0\.1:\d+$`
	servers := []*recordedServer{
		{name: "Go", addr: startHub(t), isHub: true},
		{name: "Node", addr: startDaemon(t, node.server[0], node.server[1:]...).find(t, address)},
		{name: "Python", addr: startDaemon(t, python.server[0], python.server[1:]...).find(t, address)},
	}
	dir, protoset := t.TempDir(), hubProtoset(t)
	var deadlines []func() // take 2 s: they pass beside the other calls
	for _, s := range servers {
		s.recording = filepath.Join(dir, s.name)
		s.dial, s.tunnel = startTraced(t, s.addr, "--protoset", protoset, "--record", s.recording)
		for _, client := range [][]string{node.client, python.client} { // that of the Go client is in each replay
			deadlines = append(deadlines, startHubClient(t, client, s.tunnel, []string{"deadline"}))
		}
	}
	// All but large, whose 20 MiB take much time.
	cases := []string{"unary", "details", "client_stream", "server_stream", "bidi_stream", "early_end", "cancel", "gzip", "metadata"}
	for _, s := range servers {
		cases := cases
		if s.isHub {
			cases = cases[:len(cases)-1] // it doesn't return metadata
		}
		goHubClient(t, s.tunnel, cases)
		runHubClient(t, node.client, s.tunnel, cases)
		runHubClient(t, python.client, s.tunnel, cases)
	}
	for _, wait := range deadlines {
		wait()
	}
	deadlines = nil
	for _, s := range servers {
		stopTraced(t, s.dial)
	}
	for _, s := range servers {
		for _, from := range servers {
			deadlines = append(deadlines, s.replay(t, from, "Hub/Sleep", 2))
		}
	}
	for _, s := range servers {
		for _, from := range servers {
			calls := 3 * (len(cases) + 1) // unary makes two
			if from.isHub {
				calls -= 3
			}
			s.replay(t, from, "!Hub/Sleep", calls)() // one at a time: the snapshot of a Watch has the keys of all
		}
	}
	for _, wait := range deadlines {
		wait()
	}
}
