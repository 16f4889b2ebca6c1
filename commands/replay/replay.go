// Package replay makes the calls of a recording again, and compares the responses.
//
//	rules, err := replay.ParseRules([]string{"google.protobuf.Timestamp"}, nil)
//	printer := &replay.Printer{Out: os.Stdout}
//	summary := replay.Run(ctx, rec.Calls, &replay.Options{Conn: cc, Catalog: catalog, Rules: rules, Report: printer.Result})
//	printer.Summary(summary)
//
// # Order
//
// All events of the recording are in one order, that of their times. Something that the
// client has sent, which is the beginning of a call, a request, the end of the requests or a
// cancellation, is sent as soon as everything that the client had received before has arrived
// again: responses and the ends of calls. So a call that depends on another one, a Watch that
// reports other calls, and a stream whose requests answer responses behave as recorded. Calls
// overlap as they did.
//
// A wait for a response or an end lasts as long as it did in the recording and
// Options.Timeout at most. Then the call is cancelled and differs, and the others go on.
//
// A call that the client had cancelled, or that was still open, is cancelled after as many
// responses. A call whose deadline had passed gets the same timeout, and other calls have
// none.
//
// # Comparison
//
// Statuses are equal if their codes, messages and details are, except that there is only a
// code for a deadline and for a stream that the server has reset. Responses are compared
// field by field: unknown fields by number and bytes, maps in any order, a
// google.protobuf.Any by its content. Not a number equals itself. Fields without presence
// that have their default value are unset. Values that the recording lacks because they are
// secrets aren't compared, nor is metadata, unless Options.CompareMetadata is set.
//
// Lifetimes: when Run returns, all calls have ended. It starts no goroutines that outlive it.
package replay

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/trace"
)

// DefaultTimeout is the default of Options.Timeout.
const DefaultTimeout = 10 * time.Second

// Options are the options of a replay.
type Options struct {
	// Conn carries the calls. It must be created with call.DialOptions.
	Conn grpc.ClientConnInterface

	// Catalog has the types of the messages. Messages of other methods are compared by the
	// numbers and bytes of their fields.
	Catalog *reflection.Catalog

	// Metadata is sent with each call, in place of recorded metadata with these names.
	// Default: none.
	Metadata metadata.MD

	Rules           *Rules // must be set
	CompareMetadata bool   // of the responses

	// Redact reports whether a field is secret. It isn't compared, and has no value in
	// differences. Default: only those that the recording has lost.
	Redact func(fd protoreflect.FieldDescriptor) bool

	// Speed is 1 for the times of the recording, 2 for half of them, and so on. Default:
	// as soon as possible.
	Speed float64

	// Timeout is how much longer than in the recording a response may take. Default:
	// DefaultTimeout.
	Timeout time.Duration

	// Report receives the result of each call, at its end, and those of the skipped calls
	// first.
	Report func(*Result)

	maxOpen int // default: defaultMaxOpen
}

// Verdict is the result of a call in one word.
type Verdict string

// The verdicts.
const (
	Same    Verdict = "same"
	Differs Verdict = "differs"
	Skipped Verdict = "skipped" // it can't be made as recorded
	Failed  Verdict = "failed"  // the server didn't get it, or its end was lost
)

// Result is the result of a call.
type Result struct {
	Verdict     Verdict
	Number      uint64 // as recorded
	Method      string // "/pkg.Service/Method"
	Request     string // the first one in JSON, shortened; only of a call that differs or has failed
	Differences []*Difference
	More        bool   // there are more differences
	Reason      string // of Skipped and Failed

	Took, Recorded time.Duration // of the call; 0 if it wasn't made
}

// Summary counts the calls.
type Summary struct {
	Calls                         int
	Same, Differ, Failed, Skipped int
	NotMade                       int            // calls after the connection was lost, or the end of the context
	Reasons                       map[string]int // of the skipped calls
	Ignore                        []string       // values of --ignore with which nothing would differ; nil: nothing does, or they aren't known
}

// Run makes the calls, in order of their beginnings, and reports their results. When the
// connection is lost, or ctx ends, it cancels those that are running and makes no others.
// While 16,384 calls are open, others fail.
func Run(ctx context.Context, calls []*recording.Call, opts *Options) *Summary {
	ctx, cancel := context.WithCancel(ctx)
	p := &player{
		opts: opts, timeout: opts.Timeout, summary: Summary{Calls: len(calls), Reasons: map[string]int{}},
		comparer: comparer{catalog: opts.Catalog, rules: opts.Rules, metadata: opts.CompareMetadata, redact: opts.Redact, methods: map[string]*method{}},
	}
	if p.timeout == 0 {
		p.timeout = DefaultTimeout
	}
	steps := p.prepare(calls)
	p.play(ctx, steps)
	cancel()
	for _, c := range p.calls {
		if c.running != nil {
			<-c.running.done
		}
	}
	s := &p.summary
	s.NotMade = s.Calls - s.Same - s.Differ - s.Failed - s.Skipped
	s.Ignore = p.hint.values()
	return s
}

// player is a replay.
type player struct {
	opts     *Options
	timeout  time.Duration
	comparer comparer
	calls    []*played
	summary  Summary
	hint     hint
	open     int  // calls that have begun and not finished
	lost     bool // the connection
}

// defaultMaxOpen is how many calls may be open at a time. Each takes about 16 KiB.
const defaultMaxOpen = 1 << 14

// played is the state of a call.
type played struct {
	*script
	running  *running
	last     time.Time // of the step before, in the recording
	seen     int       // responses, in the steps so far
	halfEnd  bool      // there are no more requests
	finished bool      // its result is reported
}

// step is an event of the recording.
type step struct {
	at   time.Time
	call *played
	*recording.Event
}

// sends reports whether the client has caused it.
func (s *step) sends() bool {
	switch s.Type {
	case trace.ClientHeader, trace.ClientMessage, trace.ClientHalfClose:
		return true
	case trace.Cancel:
		return !s.call.ends
	}
	return false
}

// prepare reports the calls to skip, and returns the events of the others in their order.
// Those of a call stay in their order, even if the clock was set back meanwhile.
func (p *player) prepare(calls []*recording.Call) (steps []step) {
	for _, rc := range calls {
		if problem := rc.Problem(); problem != "" {
			p.summary.Skipped++
			p.summary.Reasons[problem]++
			p.opts.Report(&Result{Verdict: Skipped, Number: rc.Number, Method: rc.Method(), Reason: problem})
			continue
		}
		c := &played{script: newScript(rc), last: rc.Events[0].Time}
		p.calls = append(p.calls, c)
		at := c.last
		for _, e := range rc.Events {
			if e.Time.After(at) {
				at = e.Time
			}
			steps = append(steps, step{at, c, e})
		}
	}
	slices.SortStableFunc(steps, func(a, b step) int { return a.at.Compare(b.at) })
	return steps
}

// play takes the steps, and then ends the calls that are still open.
func (p *player) play(ctx context.Context, steps []step) {
	started := time.Now()
	for i := range steps {
		s := &steps[i]
		if s.sends() && p.opts.Speed > 0 {
			due := started.Add(time.Duration(float64(s.at.Sub(steps[0].at)) / p.opts.Speed))
			sleep(ctx, time.Until(due))
		}
		if !s.call.finished {
			p.take(ctx, s)
		}
		if ctx.Err() != nil || p.lost {
			return
		}
		s.call.last = s.at
	}
	for _, c := range p.calls {
		if !c.finished {
			p.finish(ctx, c)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// take takes one step.
func (p *player) take(ctx context.Context, s *step) {
	c := s.call
	arrived := true
	switch {
	case s.Type == trace.ClientHeader && c.running == nil && p.open == cmp.Or(p.opts.maxOpen, defaultMaxOpen):
		c.finished = true
		p.summary.Failed++
		p.opts.Report(&Result{Verdict: Failed, Number: c.Number, Method: c.method, Reason: fmt.Sprintf("%d other calls are open", p.open)})
	case s.Type == trace.ClientHeader && c.running == nil:
		p.open++
		c.running = start(ctx, c.script, p.opts)
	case s.Type == trace.ClientMessage && !c.halfEnd:
		c.running.requests <- s.Data
	case s.Type == trace.ClientHalfClose && !c.halfEnd:
		c.halfEnd = true
		close(c.running.requests)
	case s.Type == trace.ServerMessage:
		c.seen++
		arrived = c.running.await(ctx, c.seen, p.limit(s))
	case s.IsEnd():
		if !s.sends() {
			c.running.awaitEnd(ctx, p.limit(s))
		}
		p.finish(ctx, c)
		return
	}
	if !arrived {
		p.finish(ctx, c)
	}
}

// limit returns how long to wait for a step.
func (p *player) limit(s *step) time.Duration {
	gap := float64(s.at.Sub(s.call.last))
	if p.opts.Speed > 0 && p.opts.Speed < 1 {
		gap /= p.opts.Speed
	}
	return p.timeout + time.Duration(gap)
}

// finish ends a call and reports its result, unless ctx has ended.
func (p *player) finish(ctx context.Context, c *played) {
	c.finished = true
	p.open--
	if ctx.Err() != nil {
		return
	}
	got := c.running.finish()
	r := &Result{Verdict: Same, Number: c.Number, Method: c.method, Took: got.took, Recorded: c.took()}
	if got.failure != nil {
		p.lost = got.lost
		r.Verdict, r.Reason = Failed, got.failure.Error()
	} else {
		var complete bool
		if r.Differences, complete = p.comparer.compare(ctx, c.script, got); len(r.Differences) > 0 {
			r.Verdict, r.More = Differs, !complete
		}
		p.hint.add(r)
	}
	if ctx.Err() != nil {
		return // the comparison may be incomplete
	}
	switch r.Verdict {
	case Same:
		p.summary.Same++
	case Failed:
		p.summary.Failed++
	default:
		p.summary.Differ++
	}
	if r.Verdict != Same {
		r.Request = p.comparer.request(ctx, c.script)
	}
	p.opts.Report(r)
}
