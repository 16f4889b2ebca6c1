package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
)

// running is a load process at work.
type running struct{ *process }

func (st *stage) startLoad(spec loadSpec) (*running, error) {
	spec.Addr = st.entry
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	p, err := st.start("load", st.self, "load", string(text))
	if err != nil {
		return nil, err
	}
	return &running{p}, nil
}

// result waits for the load's next result.
func (r *running) result(ctx context.Context) (res loadResult, err error) {
	line, err := r.line(ctx)
	if err != nil {
		return res, err
	}
	return res, json.Unmarshal([]byte(line), &res)
}

// next has the load go on after a result, and waits for the next one, which
// says only that it is there.
func (r *running) next(ctx context.Context) error {
	if _, err := io.WriteString(r.stdin, "\n"); err != nil {
		return err
	}
	_, err := r.result(ctx)
	return err
}

// load runs a load that has one result.
func (st *stage) load(ctx context.Context, spec loadSpec) (loadResult, error) {
	l, err := st.startLoad(spec)
	if err != nil {
		return loadResult{}, err
	}
	r, err := l.result(ctx)
	l.stop()
	if err != nil {
		return r, fmt.Errorf("%w%s", err, st.lastWords())
	}
	return r, nil
}

// loadCPU is load, and the CPU time of the system for it, in seconds.
func (st *stage) loadCPU(ctx context.Context, spec loadSpec) (loadResult, float64, error) {
	before := st.cpu()
	r, err := st.load(ctx, spec)
	return r, st.cpu() - before, err
}
