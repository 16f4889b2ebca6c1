package main

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"
)

const mbit = 1e6 / 8 // bytes

// linkWorks have a long or a slow link between the system's processes. Figures
// of the link, not of the machine, don't vary much: few rounds do.
func linkWorks() []*work {
	var works []*work
	for _, down := range []bool{false, true} {
		works = append(works, longLink(down))
	}
	for _, megabits := range []int{200, 20} {
		for _, down := range []bool{false, true} {
			works = append(works, slowLink(megabits, down))
		}
	}
	return works
}

// longLink moves bytes over a distance. The warm-up lets windows grow.
func longLink(down bool) *work {
	return &work{
		name:    "link-50ms-" + direction(down),
		about:   "1 connection, " + direction(down) + ", round trip 50 ms",
		metrics: []metric{{"MB/s", 1e-6}},
		most:    3,
		plain:   true,
		link:    link{delay: 25 * time.Millisecond},
		run: func(ctx context.Context, st *stage) ([]float64, error) {
			r, err := st.load(ctx, loadSpec{Kind: "bulk", Down: down, Conns: 1, Warmup: 2 * time.Second, Duration: 2 * st.duration})
			if err == nil {
				err = r.broken()
			}
			return []float64{r.Rate}, err
		},
	}
}

// slowLink makes calls while the link is full: they wait in all the queues that
// the system and its sockets let build up.
func slowLink(megabits int, down bool) *work {
	return &work{
		name:    fmt.Sprintf("link-%dmbit-%s", megabits, direction(down)),
		about:   fmt.Sprintf("unary calls, one at a time, while another connection fills a link of %d Mbit/s, %s", megabits, direction(down)),
		metrics: []metric{{"p50 ms", 1e3}, {"bulk MB/s", 1e-6}},
		most:    3,
		plain:   true,
		link:    link{rate: megabits * mbit},
		run: func(ctx context.Context, st *stage) ([]float64, error) {
			calls, bulk, err := st.callsBeside(ctx, down, time.Second, 3*st.duration)
			return []float64{calls.P50.Seconds(), bulk.Rate}, err
		},
	}
}

// uploadsWork overloads a slow link for longer than any write should wait.
func uploadsWork() *work {
	const uploads = 24
	return &work{
		name:    "uploads",
		about:   fmt.Sprintf("%d connections, up, for 70 s over a link of 2 Mbit/s", uploads),
		metrics: []metric{{"lost", 1}, {"sessions lost", 1}, {"MB/s", 1e-6}},
		plain:   true,
		link:    link{rate: 2 * mbit},
		run: func(ctx context.Context, st *stage) ([]float64, error) {
			r, err := st.load(ctx, loadSpec{Kind: "bulk", Conns: uploads, Duration: 70 * time.Second})
			return []float64{float64(r.Failed), st.sessionsLost(), r.Rate}, err
		},
	}
}

// sessionsLost is how many sessions wstun has lost, and NaN for other systems.
func (st *stage) sessionsLost() float64 {
	if st.sys.binary == "" {
		return math.NaN()
	}
	near := st.tunnel[len(st.tunnel)-1]
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
