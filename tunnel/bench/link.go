package main

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"
)

const mbit = 1e6 / 8 // bytes

// linkWorkloads returns workloads with a long or a slow link between the system's
// processes. The link determines the results, which vary little, so few rounds are
// enough.
func linkWorkloads() []*workload {
	var workloads []*workload
	for _, down := range []bool{false, true} {
		workloads = append(workloads, longLink(down))
	}
	for _, megabits := range []int{200, 20} {
		for _, down := range []bool{false, true} {
			workloads = append(workloads, slowLink(megabits, down))
		}
	}
	return workloads
}

// longLink returns a workload that transfers bytes over a link with a long round-trip
// time. Windows grow during the warm-up.
func longLink(down bool) *workload {
	return &workload{
		name:      "link-50ms-" + direction(down),
		about:     "1 connection, " + direction(down) + ", round trip 50 ms",
		metrics:   []metric{{"MB/s", 1e-6}},
		maxRounds: 3,
		skipTLS:   true,
		link:      link{delay: 25 * time.Millisecond},
		run: func(ctx context.Context, tb *testbed) ([]float64, error) {
			r, err := tb.load(ctx, loadSpec{Kind: "bulk", Down: down, Conns: 1, Warmup: 2 * time.Second, Duration: 2 * tb.duration})
			if err == nil {
				err = r.broken()
			}
			return []float64{r.Rate}, err
		},
	}
}

// slowLink returns a workload that makes calls while the link is full: they wait in the
// queues of the system and its sockets.
func slowLink(megabits int, down bool) *workload {
	return &workload{
		name:      fmt.Sprintf("link-%dmbit-%s", megabits, direction(down)),
		about:     fmt.Sprintf("unary calls, one at a time, while another connection fills a link of %d Mbit/s, %s", megabits, direction(down)),
		metrics:   []metric{{"p50 ms", 1e3}, {"bulk MB/s", 1e-6}},
		maxRounds: 3,
		skipTLS:   true,
		link:      link{rate: megabits * mbit},
		run: func(ctx context.Context, tb *testbed) ([]float64, error) {
			calls, bulk, err := tb.callsBeside(ctx, down, time.Second, 3*tb.duration)
			return []float64{calls.P50.Seconds(), bulk.Rate}, err
		},
	}
}

// uploadsWorkload returns a workload that overloads a slow link for longer than wstun's
// write timeout.
func uploadsWorkload() *workload {
	const uploads = 24
	return &workload{
		name:    "uploads",
		about:   fmt.Sprintf("%d connections, up, for 70 s over a link of 2 Mbit/s", uploads),
		metrics: []metric{{"lost", 1}, {"sessions lost", 1}, {"MB/s", 1e-6}},
		skipTLS: true,
		link:    link{rate: 2 * mbit},
		run: func(ctx context.Context, tb *testbed) ([]float64, error) {
			r, err := tb.load(ctx, loadSpec{Kind: "bulk", Conns: uploads, Duration: 70 * time.Second})
			return []float64{float64(r.Failed), tb.sessionsLost(), r.Rate}, err
		},
	}
}

// sessionsLost returns how many sessions wstun has lost, or NaN for other systems.
func (tb *testbed) sessionsLost() float64 {
	if tb.sys.binary == "" {
		return math.NaN()
	}
	near := tb.tunnel[len(tb.tunnel)-1]
	for n := 0.0; ; {
		select {
		case line := <-near.lines:
			if strings.Contains(line, `"session_down"`) {
				n++
			}
		default:
			return n
		}
	}
}
