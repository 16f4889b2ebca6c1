package main

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
)

// callSize is the size of a call's request and response in bytes.
const callSize = 100

// callWorkloads returns workloads that make unary gRPC calls.
func callWorkloads() []*workload {
	return []*workload{
		{
			name:    "call-1",
			about:   "unary calls, one at a time",
			metrics: []metric{{"p50 µs", 1e6}, {"CPU µs/call", 1e6}},
			run: func(ctx context.Context, tb *testbed) ([]float64, error) {
				r, cpu, err := tb.loadCPU(ctx, callsSpec(tb, 1, 1))
				return []float64{r.P50.Seconds(), cpu / float64(r.Calls)}, err
			},
		},
		manyCalls("call-64", "64 unary calls at a time on one connection", 1, 64),
		manyCalls("call-64-conns", "64 connections, a unary call at a time on each", 64, 1),
		{
			name:    "call-large",
			about:   "unary calls of 1 MiB in both directions, 4 at a time on one connection",
			metrics: []metric{{"MB/s", 1e-6}, {"CPU ns/B", 1e9}},
			run: func(ctx context.Context, tb *testbed) ([]float64, error) {
				spec := callsSpec(tb, 1, 4)
				spec.Bytes = 1 << 20
				r, cpu, err := tb.loadCPU(ctx, spec)
				size := float64(2 * spec.Bytes)
				return []float64{r.CallRate * size, cpu / float64(r.Calls) / size}, err
			},
		},
	}
}

func manyCalls(name, about string, conns, concurrent int) *workload {
	return &workload{
		name:    name,
		about:   about,
		metrics: []metric{{"calls/s", 1}, {"CPU µs/call", 1e6}},
		run: func(ctx context.Context, tb *testbed) ([]float64, error) {
			r, cpu, err := tb.loadCPU(ctx, callsSpec(tb, conns, concurrent))
			return []float64{r.CallRate, cpu / float64(r.Calls)}, err
		},
	}
}

func callsSpec(tb *testbed, conns, concurrent int) loadSpec {
	return loadSpec{Kind: "calls", Conns: conns, Concurrent: concurrent, Warmup: loadWarmup, Duration: tb.duration}
}

// callsLoad makes calls on spec.Conns connections.
func callsLoad(ctx context.Context, spec loadSpec, report func(loadResult) error, _ func() error) error {
	started := time.Now()
	from, until := started.Add(spec.Warmup), started.Add(spec.Warmup+spec.Duration)
	var mu sync.Mutex
	var all int
	var took []time.Duration
	var failed error
	var wg sync.WaitGroup
	for range spec.Conns {
		cc, err := grpc.NewClient("passthrough:///"+spec.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		defer cc.Close()
		for range spec.Concurrent {
			wg.Go(func() {
				n, measured, err := callUntil(ctx, cc, cmp.Or(spec.Bytes, callSize), from, until)
				mu.Lock()
				defer mu.Unlock()
				all += n
				took = append(took, measured...)
				if err != nil {
					failed = err
				}
			})
		}
	}
	wg.Wait()
	if failed != nil {
		return failed
	}
	slices.Sort(took)
	return report(loadResult{
		Calls:    all,
		CallRate: float64(len(took)) / time.Since(from).Seconds(),
		P50:      percentile(took, 50),
		P99:      percentile(took, 99),
	})
}

// callUntil makes calls of a size in bytes until the time until, but at least one that began
// after from. It returns their number, and the durations of those that began after from.
func callUntil(ctx context.Context, cc *grpc.ClientConn, size int, from, until time.Time) (all int, took []time.Duration, err error) {
	client := testpb.NewTestServiceClient(cc)
	req := &testpb.SimpleRequest{Payload: &testpb.Payload{Body: make([]byte, size)}}
	for {
		began := time.Now()
		if began.After(until) && len(took) > 0 {
			return all, took, nil
		}
		if _, err := client.UnaryCall(ctx, req); err != nil {
			return all, nil, err
		}
		all++
		if began.After(from) {
			took = append(took, time.Since(began))
		}
	}
}
