//go:build linux || darwin

package e2e

import (
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/tunnel/tunneltest"
)

// A server is restarted again and again, and a client calls meanwhile: each call succeeds
// once the server is back. Without a reset, and without a waiting client's dials, the delays
// would soon grow to minutes.
func TestReconnectToRestartedServer(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	serve := startDaemon(t, "wstun", "serve")
	relay := startRelay(t, serve.find(t, `^ws://(.*)/$`))
	dial := startDaemon(t, "wstun", "dial", "--output", "json", "--wait", "10m", "--max-retry-interval", "1h", "ws://"+relay.addr+"/")
	addr := dial.find(t, `"address":"([^"]*)"`)
	awaitEvent(t, dial, "session_up")
	var times []string
	for restart := range 12 {
		relay.setTarget(t, "")
		if random.IntN(2) == 0 {
			serve.kill()
		} else if err := serve.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		awaitEvent(t, dial, "session_down")
		called := make(chan error, 1)
		go func() { called <- createKey(t, addr, strconv.Itoa(restart)) }()
		for range random.IntN(3) { // failed dials
			awaitEvent(t, dial, "retry")
		}
		serve = startDaemon(t, "wstun", "serve")
		relay.setTarget(t, serve.find(t, `^ws://(.*)/$`))
		listening := time.Now()
		if err := <-called; err != nil {
			t.Fatalf("after %d restarts: %v", restart+1, err)
		}
		times = append(times, time.Since(listening).Round(time.Millisecond).String())
	}
	t.Logf("from listening to a good call: %s", strings.Join(times, ", "))
}

// awaitEvent waits for the next event with a name.
func awaitEvent(t *testing.T, dial *process, name string) {
	t.Helper()
	if _, err := dial.await(regexp.MustCompile(`"event":"` + name + `"`)); err != nil {
		t.Fatal(err)
	}
}

// createKey calls CreateKey on a new connection.
func createKey(t *testing.T, addr, name string) error {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer cc.Close()
	_, err = demo.NewHubClient(cc).CreateKey(tunneltest.Soon(t), &demo.CreateKeyRequest{Name: name}, grpc.WaitForReady(true))
	return err
}

// Ctrl-C at a terminal says what wstun waits for, and a second one ends it.
func TestDrainAtTerminal(t *testing.T) {
	t.Parallel()
	const draining = `wstun: draining: 1 call open, 30s left; press Ctrl-C again to stop now\r\n`
	serve := startInTerminal(t, nil, "serve")
	url := serve.match(`ws://\S+`)
	dial := startInTerminal(t, nil, "dial", url)
	shell := startShell(t, nil, dial.match(`(?m)^127\S+`))
	shell.press("call Echo\r")
	shell.await(`Echo> $`)
	shell.enter(`{"text": "one"}`, `"text": "one"`)
	serve.press(ctrlC)
	serve.await(draining)
	dial.press(ctrlC)
	dial.await(draining)
	dial.press(ctrlC)
	<-dial.exited
	if ws, ok := dial.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGINT {
		t.Errorf("dial ended with %v, want SIGINT", dial.cmd.ProcessState)
	}
	serve.wantExit(0) // with dial, the call has ended
}
