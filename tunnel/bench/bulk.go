package main

import (
	"context"
	"encoding/binary"
	"strconv"
	"sync"
	"time"
)

// bulkWorkloads returns workloads that transfer bytes at full speed.
func bulkWorkloads() []*workload {
	var workloads []*workload
	for _, conns := range []int{1, 4} {
		for _, down := range []bool{false, true} {
			name := "bulk"
			if conns > 1 {
				name += "-" + strconv.Itoa(conns)
			}
			workloads = append(workloads, &workload{
				name:    name + "-" + direction(down),
				about:   plural(conns, "connection") + ", " + direction(down) + ", flat out",
				metrics: []metric{{"GB/s", 1e-9}, {"CPU ns/B", 1e9}},
				run: func(ctx context.Context, tb *testbed) ([]float64, error) {
					r, cpu, err := tb.loadCPU(ctx, loadSpec{Kind: "bulk", Down: down, Conns: conns, Warmup: loadWarmup, Duration: tb.duration})
					if err == nil {
						err = r.broken()
					}
					return []float64{r.Rate, cpu / float64(r.Bytes)}, err
				},
			})
		}
	}
	return workloads
}

func direction(down bool) string {
	if down {
		return "down"
	}
	return "up"
}

func plural(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return strconv.Itoa(n) + " " + of + "s"
}

// bulkLoad transfers bytes on spec.Conns connections.
func bulkLoad(ctx context.Context, spec loadSpec, report func(loadResult) error, _ func() error) error {
	move := moveUp
	if spec.Down {
		move = moveDown
	}
	var mu sync.Mutex
	var sum loadResult
	var wg sync.WaitGroup
	for range spec.Conns {
		wg.Go(func() {
			s, err := move(ctx, spec)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				sum.Failed++
				sum.Err = err.Error()
				return
			}
			sum.Bytes += s.All
			if s.Took > 0 {
				sum.Rate += float64(s.Measured) / time.Duration(s.Took).Seconds()
			}
		})
	}
	wg.Wait()
	return report(sum)
}

// moveDown counts the bytes that the server sends.
func moveDown(ctx context.Context, spec loadSpec) (transfer, error) {
	conn, err := dialOp(ctx, spec.Addr, opDown)
	if err != nil {
		return transfer{}, err
	}
	defer conn.Close()
	return receiveFor(conn, spec.Warmup, spec.Duration)
}

// moveUp sends to the server, which counts the bytes: some that were written may still
// be in transit.
func moveUp(ctx context.Context, spec loadSpec) (s transfer, err error) {
	conn, err := dialOp(ctx, spec.Addr, opUp)
	if err != nil {
		return s, err
	}
	defer conn.Close()
	if err := binary.Write(conn, binary.BigEndian, [2]int64{int64(spec.Warmup), int64(spec.Duration)}); err != nil {
		return s, err
	}
	go writeZeros(conn)
	return s, binary.Read(conn, binary.BigEndian, &s)
}
