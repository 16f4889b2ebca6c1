//go:build unix

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
)

// tracedEnd is the end of a call in a trace.
type tracedEnd struct {
	Event, Type, Method, By, Reason string
	HTTP                            string `json:"http_status"`
	Status                          *struct {
		Code    codes.Code
		Message string
	}
}

// startTraced starts a tunnel to the server at upstream whose gRPC client end traces, with
// more flags, and returns that and the address for clients.
func startTraced(t *testing.T, upstream string, flags ...string) (dial *process, addr string) {
	t.Helper()
	serve := startDaemon(t, "wstun", "serve", "--raw", "--upstream", upstream, "--accept", "127.0.0.1:0")
	args := append([]string{"dial", "--listen", "127.0.0.1:0", "--trace", "--log-format", "json"}, flags...)
	dial = startDaemon(t, "wstun", append(args, serve.find(t, `^ws://\S+$`))...)
	return dial, dial.find(t, `^127\.0\.0\.1:\d+$`)
}

// stopTraced stops a tunnel, and returns the ends of its calls.
func stopTraced(t *testing.T, dial *process) (ends []tracedEnd) {
	t.Helper()
	_ = dial.cmd.Process.Signal(signals["TERM"])
	if status, err := dial.exitStatus(); status != 0 || err != nil {
		t.Fatalf("status %d, %v", status, err)
	}
	for line := range strings.Lines(dial.String()) {
		var e tracedEnd
		if json.Unmarshal([]byte(line), &e) == nil && e.Event == "rpc" && (e.Type == "server_trailer" || e.Type == "cancel" || e.Type == "cut") {
			ends = append(ends, e)
		}
	}
	return ends
}

// testTrace expects that the trace of a client's calls has the right methods and statuses.
func testTrace(t *testing.T, l *language) {
	t.Helper()
	t.Run("trace of odd responses", func(t *testing.T) {
		t.Parallel()
		upstream := startDaemon(t, "oddserver").find(t, `^127\.0\.0\.1:\d+$`)
		dial, addr := startTraced(t, upstream)
		statuses := oddStatuses(t, l.status, addr)
		ends := map[string]tracedEnd{}
		for _, e := range stopTraced(t, dial) {
			ends[e.Method[strings.LastIndexByte(e.Method, '/')+1:]] = e
		}
		for _, want := range clientResponses() {
			e := ends[want.Name]
			switch {
			case want.ByClient && e.Type == "cancel":
				// A client may reset the stream of a response that isn't gRPC before its end.
			case e.Type != "server_trailer":
				t.Errorf("%s: type %q, want server_trailer", want.Name, e.Type)
			case want.ByClient && (e.Status != nil || !strings.HasPrefix(want.Message, "HTTP "+e.HTTP+" ")):
				t.Errorf("%s: status %v, HTTP %q, want no status, and that of %q", want.Name, e.Status, e.HTTP, want.Message)
			case !want.ByClient && (e.Status == nil || e.Status.Code != want.Code || e.Status.Message != want.Message):
				t.Errorf("%s: status %v, want %v %q", want.Name, e.Status, want.Code, want.Message)
			}
		}
		if len(statuses) == 0 {
			t.Error("the client made no calls")
		}
	})
	t.Run("recording of the Hub", func(t *testing.T) {
		t.Parallel()
		testPcapng(t, func(addr string) { runHubClient(t, l.client, addr, hubCases[:len(hubCases)-1]) })
	})
	t.Run("trace of the Hub", func(t *testing.T) {
		t.Parallel()
		dial, addr := startTraced(t, startHub(t))
		runHubClient(t, l.client, addr, hubCases[:len(hubCases)-1])
		got := map[string]int{}
		for _, e := range stopTraced(t, dial) {
			end := e.Type + e.By
			if e.Status != nil {
				end = e.Status.Code.String()
			}
			got[fmt.Sprint(e.Method[strings.LastIndexByte(e.Method, '/')+1:], " ", end)]++
		}
		for _, want := range []string{"CreateKey OK", "DeleteKey NotFound", "Sum OK", "Echo OK"} {
			if got[want] == 0 {
				t.Errorf("no %q in the trace: %v", want, got)
			}
		}
		if n := got["Sleep cancelclient"] + got["Sleep cancelserver"] + got["Sleep DeadlineExceeded"]; n != 1 { // whichever is first
			t.Errorf("%d calls of Sleep ended by their deadline, want 1: %v", n, got)
		}
		if got["WatchKeys cancelclient"] == 0 {
			t.Errorf("no Watch was cancelled by the client: %v", got)
		}
		for end, n := range got {
			if strings.HasPrefix(end, "?") || strings.Contains(end, " cut") {
				t.Errorf("%d of %q in the trace", n, end)
			}
		}
	})
}
