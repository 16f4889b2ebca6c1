//go:build linux && !race

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	fleetRelays = 3 // and one that is added
	fleetNATS   = 3
	fleetPort   = "7100"
)

// fleetSize returns the number of Workers, WSTUN_FLEET_WORKERS or few, and how many dials a
// second there are.
func fleetSize(t *testing.T) (workers, rate int) {
	t.Helper()
	const few, leastRate, workersForDial = 300, 100, 4
	workers = few
	if text := os.Getenv("WSTUN_FLEET_WORKERS"); text != "" {
		var err error
		if workers, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	return workers, max(leastRate, workers/workersForDial)
}

// TestFleet makes the parts of a fleet fail, one after the other: relays, their load
// balancer, and the NATS servers of their directory. Engineers dial all the time.
//
// The addresses are those of the whole network 127.0.0.0/8, because a relay and a load
// balancer return at the address that they had.
func TestFleet(t *testing.T) {
	for _, b := range balancers {
		t.Run(b.name, func(t *testing.T) {
			if _, err := exec.LookPath(b.prog); err != nil {
				t.Skipf("%s is not installed", b.prog)
			}
			f := startFleet(t, b)
			for _, e := range fleetEvents {
				if e.once && b.name != balancers[0].name {
					continue
				}
				report := f.during(t, e.run)
				t.Logf("%s: %v", e.name, report)
				if report.Lost > 0 {
					t.Errorf("%s: lost for good: %d workers", e.name, report.Lost)
				}
				if e.unnoticed && (report.Failed > 0 || report.FewestUp < f.workers) {
					t.Errorf("%s: want no failed dial, and no worker without a session", e.name)
				}
				if t.Failed() {
					return
				}
			}
		})
	}
}

// fleetEvents happen to a fleet with all relays up but the last, and leave it so.
var fleetEvents = []struct {
	name      string
	run       func(t *testing.T, f *fleet)
	unnoticed bool // no dial may fail, and no Worker be without a session
	once      bool // doesn't depend on the load balancer
}{
	{name: "a relay drains", unnoticed: true, run: func(t *testing.T, f *fleet) {
		t.Helper()
		f.relays[1].signal(t, syscall.SIGTERM)
		<-f.relays[1].exited
	}},
	{name: "it returns", unnoticed: true, run: func(t *testing.T, f *fleet) { t.Helper(); f.startRelay(t, 1) }},
	{name: "a relay is killed", run: func(t *testing.T, f *fleet) { t.Helper(); f.relays[0].kill() }},
	{name: "it returns", unnoticed: true, run: func(t *testing.T, f *fleet) { t.Helper(); f.startRelay(t, 0) }},
	{name: "a relay freezes", run: func(t *testing.T, f *fleet) { t.Helper(); f.relays[2].signal(t, syscall.SIGSTOP) }},
	{name: "it continues", run: func(t *testing.T, f *fleet) { t.Helper(); f.relays[2].signal(t, syscall.SIGCONT) }},
	{name: "a relay is added", unnoticed: true, run: func(t *testing.T, f *fleet) { t.Helper(); f.startRelay(t, fleetRelays) }},
	{name: "the load balancer reloads", run: func(t *testing.T, f *fleet) {
		t.Helper()
		f.lb.signal(t, map[string]syscall.Signal{"HUP": syscall.SIGHUP, "USR2": syscall.SIGUSR2}[f.balancer.reload])
	}},
	{name: "the load balancer is killed", run: func(t *testing.T, f *fleet) {
		t.Helper()
		f.lb.kill()
		f.startBalancer(t)
	}},
	{name: "a NATS server is killed", once: true, run: func(t *testing.T, f *fleet) { t.Helper(); f.nats[0].kill() }},
	{name: "it returns", once: true, run: func(t *testing.T, f *fleet) { t.Helper(); f.startNATS(t, 0) }},
	{name: "a NATS server freezes", once: true, run: func(t *testing.T, f *fleet) { t.Helper(); f.nats[1].signal(t, syscall.SIGSTOP) }},
	{name: "it continues", once: true, run: func(t *testing.T, f *fleet) { t.Helper(); f.nats[1].signal(t, syscall.SIGCONT) }},
	{name: "all NATS servers are away for 4 s", once: true, run: func(t *testing.T, f *fleet) {
		t.Helper()
		for _, n := range f.nats {
			n.kill()
		}
		<-time.After(4 * time.Second)
		for i := range f.nats {
			f.startNATS(t, i)
		}
	}},
}

// fleet is a load balancer, relays, and the load.
type fleet struct {
	balancer balancer
	net      string // the first three bytes of the addresses
	dir      string
	workers  int
	lb       *process
	relays   []*process // nil: not started yet
	nats     [fleetNATS]*process
	load     *process
	stdin    io.Writer // of load
	stdout   *bufio.Scanner
}

// addr returns an address of the fleet.
func (f *fleet) addr(host int) string {
	return net.JoinHostPort(f.net+strconv.Itoa(host), fleetPort)
}

// The last bytes of addresses: those of relays follow relayHost, and so on.
const (
	frontHost = 1
	relayHost = 10
	natsHost  = 20
)

func startFleet(t *testing.T, b balancer) *fleet {
	t.Helper()
	f := &fleet{
		balancer: b,
		net:      fmt.Sprintf("127.%d.%d.", 16+rand.IntN(200), rand.IntN(256)),
		dir:      t.TempDir(),
		relays:   make([]*process, fleetRelays+1),
	}
	for i := range f.nats {
		f.startNATS(t, i)
	}
	for i := range fleetRelays {
		f.startRelay(t, i)
	}
	f.startBalancer(t)
	workers, rate := fleetSize(t)
	f.startLoad(t, "ws://"+f.addr(frontHost), workers, rate)
	return f
}

// startNATS starts one of the NATS servers, which know each other.
func (f *fleet) startNATS(t *testing.T, i int) {
	t.Helper()
	args := []string{f.net + strconv.Itoa(natsHost+i)}
	for n := range f.nats {
		args = append(args, f.net+strconv.Itoa(natsHost+n))
	}
	f.nats[i] = startDaemon(t, "natscluster", args...)
	f.nats[i].find(t, `^127.*$`)
}

// startRelay starts a relay, and waits until it listens.
func (f *fleet) startRelay(t *testing.T, i int) {
	t.Helper()
	addr := f.addr(relayHost + i)
	var servers []string
	for n := range fleetNATS {
		servers = append(servers, "nats://"+f.addr(natsHost+n))
	}
	f.relays[i] = startDaemon(t, "wstun", "relay", "--accept", addr, "--id", fmt.Sprintf("r%d", i+1),
		"--directory", strings.Join(servers, ","), "--trusted-proxy", f.net+"0/24", "--trusted-proxy", "127.0.0.1/32",
		"--drain-pace", "1s", "--drain-timeout", "10s", "--ping-interval", "1s", "--ping-timeout", "4s")
	f.relays[i].find(t, `^ws://.*/$`)
}

// startBalancer starts the load balancer, and waits until it accepts connections.
func (f *fleet) startBalancer(t *testing.T) {
	t.Helper()
	var relays []string
	for i := range f.relays {
		relays = append(relays, f.addr(relayHost+i))
	}
	f.lb = startDaemon(t, f.balancer.prog, f.balancer.write(t, f.dir, f.addr(frontHost), relays)...)
	for {
		conn, err := net.Dial("tcp", f.addr(frontHost))
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-f.lb.exited:
			t.Fatalf("%s has ended", f.balancer.prog)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// startLoad starts the load, and waits until all Workers are up.
func (f *fleet) startLoad(t *testing.T, url string, workers, rate int) {
	t.Helper()
	f.workers = workers
	cmd := exec.Command("fleetload", url, strconv.Itoa(workers), strconv.Itoa(rate))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	f.stdin, f.stdout = stdin, bufio.NewScanner(r)
	if f.load, err = startProcess(cmd, w, io.Discard); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		f.load.kill()
		if t.Failed() {
			t.Log(f.load)
		}
	})
	patience := time.AfterFunc(2*outputWait, func() { r.Close() })
	defer patience.Stop()
	if !f.stdout.Scan() {
		t.Fatal("not all workers are up, or the load has ended")
	}
	t.Logf("%d workers %s", workers, f.stdout.Text())
}

// ask sends a line to the load, and returns the answer.
func (f *fleet) ask(t *testing.T, line string) string {
	t.Helper()
	if _, err := fmt.Fprintln(f.stdin, line); err != nil {
		t.Fatal(err)
	}
	if !f.stdout.Scan() {
		t.Fatal("the load has ended")
	}
	return f.stdout.Text()
}

// during returns the load's report of an event.
func (f *fleet) during(t *testing.T, event func(*testing.T, *fleet)) (r fleetReport) {
	t.Helper()
	f.ask(t, "begin")
	event(t, f)
	if err := json.Unmarshal([]byte(f.ask(t, "settle")), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func (p *process) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}
