//go:build linux && !race

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestFleetCapacity connects WSTUN_FLEET_WORKERS Workers to one relay, kills it, and starts
// it again. See RESULTS.md of package relay.
func TestFleetCapacity(t *testing.T) {
	workers, err := strconv.Atoi(os.Getenv("WSTUN_FLEET_WORKERS"))
	if err != nil {
		t.Skip("WSTUN_FLEET_WORKERS isn't set")
	}
	f := &fleet{net: fmt.Sprintf("127.%d.%d.", 16+rand.IntN(200), rand.IntN(256)), relays: make([]*process, 1)}
	args := []string{"relay", "--accept", f.addr(frontHost), "--log-level", "error"}
	f.relays[0] = startDaemon(t, "wstun", args...)
	f.relays[0].find(t, `^(ws://.*)/$`)
	f.startLoad(t, workers, 0)

	const quiet = 10 * time.Second // until the relay has returned the memory of the handshakes
	<-time.After(quiet)
	before := f.relays[0].cpu(t)
	<-time.After(quiet)
	t.Logf("idle: %d MiB, at most %d MiB; %.1f %% of a core", f.relays[0].memory(t, "VmRSS")>>20, f.relays[0].memory(t, "VmHWM")>>20,
		100*(f.relays[0].cpu(t)-before).Seconds()/quiet.Seconds())

	report := f.during(t, func(t *testing.T, f *fleet) {
		t.Helper()
		f.relays[0].kill()
		f.relays[0] = startDaemon(t, "wstun", args...)
	})
	t.Logf("killed and started: all up after %.1fs, dials to each of them: %d, %d failed", report.Back.Seconds(), report.Dials, report.Failed)
	if len(report.Lost) > 0 {
		t.Errorf("%d workers are lost", len(report.Lost))
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
