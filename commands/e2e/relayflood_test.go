//go:build unix && !race

package e2e

import (
	"net/http"
	"os"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/relay"
	"github.com/wstun/wstun/tunnel/tunneltest"
)

// Ten thousand dials to absent Workers are refused, and each of them is audited. They take a
// bounded number of goroutines, and delay no dial to a Worker that is there.
func TestRelayAbsentFlood(t *testing.T) {
	t.Parallel()
	const (
		dials = 10_000
		most  = 512 // bytes of a record

		// With more than 1024 unfinished handshakes, the relay closes the oldest, without a record.
		parallel = 512
	)
	r := startAttackedRelay(t, "--hold", "15s", "--admin", "127.0.0.1:0")
	r.startWorker(t)
	metrics := r.find(t, `admin="(http://127\.0\.0\.1:\d+)/#`) + "/metrics"
	goroutines := func() int { return metric(t, metrics, "go_goroutines") }
	idle, memory := goroutines(), metric(t, metrics, "process_resident_memory_bytes")

	var codes [600]atomic.Int64
	slots := make(chan struct{}, parallel)
	var flood sync.WaitGroup
	dial := func(i int) {
		codes[r.code(t, relay.Path("", "absent-"+strconv.Itoa(i)), aliceToken, relay.Dial)].Add(1)
	}
	begun := 0
	for ; codes[http.StatusServiceUnavailable].Load() == 0; begun++ { // until the relay holds as many as it may
		i := begun
		flood.Go(func() { dial(i) })
		if begun%(parallel/4) == 0 { // the relay keeps up
			r.code(t, "/v1/worker/w-1", bobToken, relay.Dial)
		}
	}
	flood.Go(func() {
		for i := begun; i < dials; i++ {
			slots <- struct{}{}
			flood.Go(func() {
				dial(i)
				<-slots
			})
		}
	})
	ended := make(chan struct{})
	go func() {
		flood.Wait()
		close(ended)
	}()
	highest, highestMemory, reached := 0, 0, 0
	var slowest time.Duration
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for running := true; running; reached++ {
		begin := time.Now()
		if code := r.code(t, "/v1/worker/w-1", bobToken, relay.Dial); code != http.StatusSwitchingProtocols && code != http.StatusTooManyRequests { // the session before may not have ended yet
			t.Errorf("w-1: status %d during the flood", code)
		}
		slowest = max(slowest, time.Since(begin))
		highest, highestMemory = max(highest, goroutines()), max(highestMemory, metric(t, metrics, "process_resident_memory_bytes"))
		select {
		case <-ended:
			running = false
		case <-tick.C:
		}
	}
	absent, full := codes[http.StatusNotFound].Load(), codes[http.StatusServiceUnavailable].Load()
	if absent+full != dials || full == 0 || absent < relay.DefaultMaxHolds {
		t.Errorf("%d dials got 404 and %d got 503, want %d in all", absent, full, dials)
	}
	if bound := idle + 3*(relay.DefaultMaxHolds+2*parallel); highest > bound {
		t.Errorf("%d goroutines, want at most %d", highest, bound)
	}
	tunneltest.Eventually(t, "the end of the goroutines", func() bool { return goroutines() < idle+20 })
	refusals := 0
	for _, rec := range r.records(t, most) {
		if rec.Kind == "refusal" && rec.Role == "dial" && rec.Subject == "alice" && rec.Name != "" {
			refusals++
		}
	}
	if refusals != dials {
		t.Errorf("%d refusals in the audit, want %d", refusals, dials)
	}
	checkLines(t, r.process, "handshake refused", 400) // about 130 in ten seconds
	info, err := os.Stat(r.audit)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d got 404, %d got 503; at most %d goroutines and %d MiB more; %d dials to a worker, the slowest took %v; %d bytes of audit for each dial",
		absent, full, highest-idle, (highestMemory-memory)>>20, reached, slowest.Round(time.Millisecond), info.Size()/dials)
}

// The dials of a subject with a quota don't take the places of others.
func TestRelayAbsentQuota(t *testing.T) {
	t.Parallel()
	r := startAttackedRelay(t, "--hold", "1s")
	r.startWorker(t)
	var codes [600]atomic.Int64
	var wg sync.WaitGroup
	const dials, quota = 100, 3
	for range dials {
		wg.Go(func() { codes[r.code(t, "/v1/worker/absent", bobToken, relay.Dial)].Add(1) })
	}
	if code := r.code(t, "/v1/worker/w-1", aliceToken, relay.Dial); code != http.StatusSwitchingProtocols {
		t.Errorf("w-1: status %d", code)
	}
	wg.Wait()
	if n := codes[http.StatusNotFound].Load(); n < quota || n+codes[http.StatusTooManyRequests].Load() != dials {
		t.Errorf("%d dials got 404 and %d got 429, want %d in all", n, codes[http.StatusTooManyRequests].Load(), dials)
	}
}

// metric returns the value of a metric without labels.
func metric(t *testing.T, url, name string) int {
	t.Helper()
	_, body := fetch(t, url, "")
	match := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(body)
	if match == nil {
		t.Fatalf("no %s in %.300s", name, body)
	}
	value, err := strconv.ParseFloat(match[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return int(value)
}
