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

// workLimit bounds one work with one system: what hangs must not hold up the
// rest for ever.
const workLimit = 3 * time.Minute

// measure does everything in this process's network.
func (p *program) measure(ctx context.Context, args []string) error {
	o, err := p.parse(args)
	if err != nil {
		return err
	}
	runtime.LockOSThread() // for startProcess
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
	r := &rounds{
		program: p,
		options: o,
		self:    self,
		dir:     dir,
		results: newResults(o.rounds),
		works:   slices.DeleteFunc(works(), func(w *work) bool { return w.full && !o.full || !o.work.MatchString(w.name) }),
		systems: slices.DeleteFunc(systems(o), func(s *system) bool { return !o.systems.MatchString(s.name) }),
	}
	if len(r.works) == 0 || len(r.systems) == 0 {
		return fmt.Errorf("nothing to do: -work and -systems leave %d and %d", len(r.works), len(r.systems))
	}
	fmt.Fprintf(p.stderr, "in %s, on %s\n", network, plural(runtime.NumCPU(), "CPU"))
	err = r.run(ctx)
	t := &table{works: r.works, systems: r.systems, bases: o.bases, results: r.results, notes: r.notes}
	t.header = fmt.Sprintf("Medians of %s in %s, on %s", plural(o.rounds, "round"), network, plural(runtime.NumCPU(), "CPU"))
	if o.markdown {
		t.writeMarkdown(p.stdout)
	} else {
		t.writeText(p.stdout)
	}
	return err
}

// rounds is everything that is to be measured.
type rounds struct {
	*program
	options   *options
	self, dir string
	works     []*work
	systems   []*system
	results   *results
	notes     []string // what could not be measured, and why
}

// run stops early if ctx ends.
func (r *rounds) run(ctx context.Context) error {
	for round := range r.options.rounds {
		for _, w := range r.works {
			if w.most > 0 && round >= w.most {
				continue
			}
			shuffled := slices.Clone(r.systems)
			rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] }) //nolint:gosec // the order is no secret
			for _, sys := range shuffled {
				if !w.takesPart(sys, r.options) {
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

// do does one work with one system. The values are in the metrics' units.
func (r *rounds) do(ctx context.Context, w *work, sys *system) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, workLimit)
	defer cancel()
	st, err := newStage(ctx, r.self, r.dir, sys, w.link, r.options.duration)
	if err != nil {
		return nil, err
	}
	defer st.close()
	values, err := w.run(ctx, st)
	for i := range values {
		values[i] *= w.metrics[i].scale
		if math.IsInf(values[i], 0) {
			values[i] = math.NaN()
		}
	}
	return values, err
}

// describe puts the values into words.
func (w *work) describe(values []float64) string {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = w.metrics[i].name + " " + number(v)
	}
	return strings.Join(words, ", ")
}
