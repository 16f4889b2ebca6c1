//go:build linux && !race

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestFleetCapacity connects WSTUN_FLEET_WORKERS Workers to one relay, kills it, and starts
// it again. With WSTUN_FLEET_TLS it does so over TLS. See RESULTS.md of package relay.
func TestFleetCapacity(t *testing.T) {
	if os.Getenv("WSTUN_FLEET_WORKERS") == "" {
		t.Skip("WSTUN_FLEET_WORKERS isn't set")
	}
	workers, _ := fleetSize(t)
	f := &fleet{net: fmt.Sprintf("127.%d.%d.", 16+rand.IntN(200), rand.IntN(256)), relays: make([]*process, 1)}
	url := "ws://" + f.addr(frontHost)
	args := []string{"relay", "--accept", f.addr(frontHost), "--log-level", "error"}
	if os.Getenv("WSTUN_FLEET_TLS") != "" {
		dir := t.TempDir()
		writeCertificates(dir, time.Hour, func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		})
		url = "wss://" + f.addr(frontHost)
		args = append(args, "--cert", filepath.Join(dir, "server.pem"), "--key", filepath.Join(dir, "server.key"))
	}
	f.relays[0] = startDaemon(t, "wstun", args...)
	f.relays[0].find(t, `^(wss?://.*)/$`)
	before := f.relays[0].cpu(t)
	f.startLoad(t, url, workers, 0)
	opening := f.relays[0].cpu(t) - before

	const quiet = 10 * time.Second // until the relay has returned the memory of the handshakes
	<-time.After(quiet)
	before = f.relays[0].cpu(t)
	<-time.After(quiet)
	t.Logf("opening: %v of processor time; idle: %d MiB, at most %d MiB; %.1f %% of a core", opening, f.relays[0].memory(t, "VmRSS")>>20,
		f.relays[0].memory(t, "VmHWM")>>20, 100*(f.relays[0].cpu(t)-before).Seconds()/quiet.Seconds())

	report := f.during(t, func(t *testing.T, f *fleet) {
		t.Helper()
		f.relays[0].kill()
		f.relays[0] = startDaemon(t, "wstun", args...)
	})
	t.Logf("killed and started: %v", report)
	if report.Lost > 0 {
		t.Errorf("%d workers are lost", report.Lost)
	}
}

// memory returns a value of /proc/PID/status in bytes.
func (p *process) memory(t *testing.T, name string) (n int64) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), name+":")
	_, _ = fmt.Sscan(rest, &n)
	return n << 10
}

// cpu returns the processor time that the process has used.
func (p *process) cpu(t *testing.T) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat))
	user, _ := strconv.Atoi(fields[13])
	system, _ := strconv.Atoi(fields[14])
	const tick = 10 * time.Millisecond // USER_HZ is 100 (proc(5))
	return time.Duration(user+system) * tick
}
