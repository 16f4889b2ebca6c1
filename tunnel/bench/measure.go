package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// workloadLimit bounds one run of a workload, so that a system that hangs doesn't stop
// the benchmark.
const workloadLimit = 3 * time.Minute

// measure runs all workloads in this process's network namespace and prints the tables.
func (p *program) measure(ctx context.Context, args []string) error {
	o, err := p.parse(args)
	if err != nil {
		return err
	}
	runtime.LockOSThread() // startProcess requires it
	defer runtime.UnlockOSThread()
	network, err := prepareNetwork()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "wstun-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r := &measurement{
		program:   p,
		options:   o,
		self:      self,
		dir:       dir,
		results:   newResults(o.rounds),
		workloads: slices.DeleteFunc(workloads(), func(w *workload) bool { return w.full && !o.full || !o.work.MatchString(w.name) }),
		systems:   slices.DeleteFunc(systems(o), func(s *system) bool { return !o.systems.MatchString(s.name) }),
	}
	if len(r.workloads) == 0 || len(r.systems) == 0 {
		return fmt.Errorf("nothing to do: -work matches %d workloads, -systems %d systems", len(r.workloads), len(r.systems))
	}
	fmt.Fprintf(p.stderr, "in %s, on %s\n", network, plural(runtime.NumCPU(), "CPU"))
	err = r.run(ctx)
	t := &table{workloads: r.workloads, systems: r.systems, bases: o.bases, results: r.results, notes: r.notes}
	t.header = fmt.Sprintf("Medians of %s in %s, on %s", plural(o.rounds, "round"), network, plural(runtime.NumCPU(), "CPU"))
	if o.markdown {
		t.writeMarkdown(p.stdout)
	} else {
		t.writeText(p.stdout)
	}
	return err
}

// measurement is one run of the benchmark.
type measurement struct {
	*program
	options   *options
	self, dir string
	workloads []*workload
	systems   []*system
	results   *results
	notes     []string // failures of workloads
}

// run runs all rounds. It returns an error if ctx ends first.
func (r *measurement) run(ctx context.Context) error {
	for round := range r.options.rounds {
		for _, w := range r.workloads {
			if w.maxRounds > 0 && round >= w.maxRounds {
				continue
			}
			shuffled := slices.Clone(r.systems)
			rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] }) //nolint:gosec // the order is no secret
			for _, sys := range shuffled {
				if !w.appliesTo(sys, r.options) {
					continue
				}
				values, err := r.do(ctx, w, sys)
				if ctx.Err() != nil {
					return fmt.Errorf("stopped in round %d", round+1)
				}
				progress := fmt.Sprintf("round %d/%d %s %s:", round+1, r.options.rounds, w.name, sys.name)
				if err != nil {
					r.notes = append(r.notes, fmt.Sprintf("%s, round %d: %s: %v", w.name, round+1, sys.name, err))
					fmt.Fprintln(r.stderr, progress, err)
					continue
				}
				r.results.add(round, w.name, sys.name, values)
				fmt.Fprintln(r.stderr, progress, w.describe(values))
			}
		}
	}
	return nil
}

// do runs one workload with one system. The values are in the metrics' units.
func (r *measurement) do(ctx context.Context, w *workload, sys *system) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, workloadLimit)
	defer cancel()
	tb, err := newTestbed(ctx, r.self, r.dir, sys, w.link, r.options.duration)
	if err != nil {
		return nil, err
	}
	defer tb.close()
	values, err := w.run(ctx, tb)
	for i := range values {
		values[i] *= w.metrics[i].scale
		if math.IsInf(values[i], 0) {
			values[i] = math.NaN()
		}
	}
	return values, err
}

// describe formats the values with the names of the metrics.
func (w *workload) describe(values []float64) string {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = w.metrics[i].name + " " + number(v)
	}
	return strings.Join(words, ", ")
}
