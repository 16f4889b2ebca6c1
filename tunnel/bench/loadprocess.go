package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
)

// loadProcess is a running load process.
type loadProcess struct{ *process }

func (tb *testbed) startLoad(spec loadSpec) (*loadProcess, error) {
	spec.Addr = tb.entry
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	p, err := tb.start("load", tb.self, "load", string(text))
	if err != nil {
		return nil, err
	}
	return &loadProcess{p}, nil
}

// result waits for the load's next result.
func (r *loadProcess) result(ctx context.Context) (res loadResult, err error) {
	line, err := r.line(ctx)
	if err != nil {
		return res, err
	}
	return res, json.Unmarshal([]byte(line), &res)
}

// next makes the load continue after a result, and waits for the next result, which is
// empty.
func (r *loadProcess) next(ctx context.Context) error {
	if _, err := io.WriteString(r.stdin, "\n"); err != nil {
		return err
	}
	_, err := r.result(ctx)
	return err
}

// load runs a load with one result.
func (tb *testbed) load(ctx context.Context, spec loadSpec) (loadResult, error) {
	l, err := tb.startLoad(spec)
	if err != nil {
		return loadResult{}, err
	}
	r, err := l.result(ctx)
	l.stop()
	if err != nil {
		return r, fmt.Errorf("%w%s", err, tb.stderr())
	}
	return r, nil
}

// loadCPU is load, and also returns the CPU time of the system in seconds.
func (tb *testbed) loadCPU(ctx context.Context, spec loadSpec) (loadResult, float64, error) {
	before := tb.cpu()
	r, err := tb.load(ctx, spec)
	return r, tb.cpu() - before, err
}
