// Package tracing shows and records the calls of sessions while they happen.
//
//	var opts tracing.Options
//	flags := opts.Flags()
//	…
//	t, err := opts.Start(ctx, &tracing.Output{…})
//	defer t.Close()
//	sessionOptions.Observe = t.Observe()
//
// A nil Tracing, that of a command without any of the flags, does nothing. [Tracing.Attach]
// traces a command that is running already.
package tracing

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/terminal"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/mux"
	"github.com/wstun/wstun/tunnel/trace"
)

// Options are the values of the flags.
type Options struct {
	Given usage.Given

	Trace, Messages, Full bool
	Filter, Redact        []string

	Record, RecordFormat string
	RecordMax            int64
	RecordKeep           int
	RecordSecrets        bool
}

// Flags returns the flags of commands with a session.
func (o *Options) Flags() []cli.Flag {
	return append([]cli.Flag{
		usage.Bool(&o.Trace, "trace", "print each RPC of the session on stderr"),
		usage.Bool(&o.Messages, "trace-messages", "also print each message as it passes"),
		usage.Bool(&o.Full, "trace-full", "also print long messages whole"),
		usage.Strings(&o.Filter, "filter", "trace and record only calls that fulfil the `TERMS`, such as 'Hub/* status!=OK'; repeatable"),
		usage.Strings(&o.Redact, "redact", "hide the values of message fields and metadata named `GLOB` in the trace and in the recording; repeatable"),
	}, o.recordFlags()...)
}

// PrintFlags returns the flags of a command whose purpose is the trace.
func (o *Options) PrintFlags() []cli.Flag {
	return append([]cli.Flag{
		usage.Bool(&o.Messages, "trace-messages", "also print each message"),
		usage.Bool(&o.Full, "trace-full", "also print long messages whole"),
		usage.Strings(&o.Filter, "filter", "print and record only calls that fulfil the `TERMS`, such as 'Hub/* status!=OK'; repeatable"),
		usage.Strings(&o.Redact, "redact", "hide the values of message fields and metadata named `GLOB`; repeatable"),
	}, o.recordFlags()...)
}

// Output is the destination of a trace.
type Output struct {
	Writer  io.Writer       // receives whole lines
	JSON    bool            // events; otherwise lines for people
	Width   func() int      // of the terminal; nil: Writer isn't one
	Colors  terminal.Colors // of lines for people
	Secrets *escape.Secrets // masked
	Token   string          // the name of the header with the token, secret as metadata; may be empty

	Catalog *reflection.Catalog // finds the types of messages; may be nil
	Learned *Learned            // receives the files that the trace sees; nil: none are needed
	Summary bool                // print a summary at the end

	// Attachable says that there is a Tracing without any of the flags, too, so that Attach
	// may be called.
	Attachable bool

	// Of a recording.
	Version string       // of wstun
	Stdout  *os.File     // for --record -; nil: that isn't possible
	Logger  *slog.Logger // must be set
}

// Tracing is a running trace, a recording, or both, or neither until Attach. Its methods may
// be called from any goroutine.
type Tracing struct {
	tracer *trace.Tracer
	opts   *Options
	out    *Output

	mu        sync.Mutex
	followers []*follower
}

// Asked reports whether the command line, and not only the environment, asks for a trace
// or a recording.
func (o *Options) Asked() bool {
	return o.Given["trace"] || o.Given["trace-messages"] || o.Given["trace-full"] || o.records()
}

// on reports whether the flags ask for a trace.
func (o *Options) on() bool { return o.Trace || o.Messages || o.Full }

// Start starts the trace and the recording that the flags ask for, or returns nil if they
// ask for neither and out isn't Attachable. If the recording is a pipe without a reader, it waits for one, or until
// ctx ends. Errors are usage errors, or that of ctx.
func (o *Options) Start(ctx context.Context, out *Output) (*Tracing, error) {
	f, err := o.check()
	if err != nil || !o.on() && !o.records() && !out.Attachable {
		return nil, err
	}
	t := &Tracing{opts: o, out: out}
	var outputs []trace.Output
	memory := int64(0)
	if o.on() {
		follow, output := o.newFollower(out, f)
		t.followers, outputs = append(t.followers, follow), append(outputs, *output)
		memory = output.Queue // 0: the default
	}
	if o.records() {
		follow, output, err := o.newFileRecorder(ctx, out, f)
		if err != nil {
			return nil, err
		}
		t.followers, outputs = append(t.followers, follow), append(outputs, *output)
		memory = 0
	}
	for _, follow := range t.followers {
		follow.messages.forget = t.Forget
	}
	t.tracer = trace.New(memory, outputs...)
	return t, nil
}

// check checks the flags, and returns the filter.
func (o *Options) check() (filter, error) {
	f, err := parseFilter(o.Filter)
	if err != nil {
		return nil, err
	}
	for _, pattern := range o.Redact {
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, usage.Errorf("--redact %q: not a pattern such as secret or *key*", pattern)
		}
	}
	if !o.on() && !o.records() {
		for _, name := range []string{"filter", "redact"} {
			if o.Given[name] {
				return nil, usage.Errorf("--%s without --trace, --trace-messages or --record", name)
			}
		}
	}
	return f, o.checkRecord()
}

// newMessages returns the messages that f and the flags ask for.
func (o *Options) newMessages(out *Output, f filter) *messages {
	catalog := out.Catalog
	if catalog == nil {
		catalog = reflection.NewCatalog()
	}
	return &messages{
		schema: newSchema(catalog), show: o.Messages || o.Full, full: o.Full,
		fields: f.any(func(t condition) bool { return t.fields }), redact: o.Redact, learned: out.Learned,
	}
}

// isSecret returns the function for trace.Output.
func (o *Options) isSecret(out *Output) func(name string) bool {
	return func(name string) bool {
		return trace.IsSecret(name) || strings.EqualFold(name, out.Token) || matches(o.Redact, name)
	}
}

// The lines of a trace that wait for the verdict of a filter, in bytes.
const (
	maxHeld    = 64 << 10 // of a call
	maxAllHeld = 4 << 20
)

// newFollower returns the follower that prints, and its output of the Tracer.
func (o *Options) newFollower(out *Output, f filter) (*follower, *trace.Output) {
	ms := o.newMessages(out, f)
	follow := &follower{
		out: out.Writer, messages: ms, filter: f, hide: !f.any(func(t condition) bool { return t.method }),
		calls: map[uint64]*call{}, stages: newStages(), maxHeld: maxHeld, maxAllHeld: maxAllHeld, summarize: out.Summary,
		patience: readerPatience, closed: make(chan struct{}), stuck: func() {},
	}
	opts := &trace.Output{Sink: follow, Body: ms.body(), IsSecret: o.isSecret(out)}
	if out.JSON {
		follow.render = &jsonRenderer{ms, out.Secrets}
	} else {
		follow.render = newTextRenderer(out, ms)
		opts.Omit = []trace.Type{trace.ServerHeader, trace.ClientHalfClose} // there are no lines for them
	}
	if out.Learned != nil && ms.body() != 0 {
		opts.Whole = isReflection
	}
	if ms.full {
		opts.Queue = 256 << 20 // some messages of the largest size
	}
	return follow, opts
}

// matches reports whether a name matches any of the patterns, in any case.
func matches(patterns []string, name string) bool {
	for _, pattern := range patterns {
		if ok, _ := path.Match(strings.ToLower(pattern), strings.ToLower(name)); ok {
			return true
		}
	}
	return false
}

// newTextRenderer returns a renderer for out.
func newTextRenderer(out *Output, ms *messages) *textRenderer {
	r := &textRenderer{
		messages: ms, secrets: out.Secrets, colors: out.Colors, ascii: terminal.ASCII(), width: func() int { return 0 },
		names: map[string]string{}, taken: map[string]bool{},
	}
	if out.Width != nil {
		r.width = out.Width
	}
	return r
}

// Observe returns the function for [tunnel.SessionOptions], nil without a trace.
func (t *Tracing) Observe() func(id uint64) func(stream uint32, opened bool) *mux.StreamObserver {
	if t == nil {
		return nil
	}
	return t.tracer.Session
}

// Tracer returns the tracer, nil without a trace.
func (t *Tracing) Tracer() *trace.Tracer {
	if t == nil {
		return nil
	}
	return t.tracer
}

// Lost returns the losses so far of the trace, the recording and live recordings.
func (t *Tracing) Lost() trace.Losses {
	if t == nil {
		return trace.Losses{}
	}
	return t.tracer.Lost()
}

// Forget makes the trace ask for the types of messages again, because there is another
// server.
func (t *Tracing) Forget() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, follow := range t.followers {
		follow.messages.schema.forget()
	}
}

// How long Close waits for a slow reader, and for a disk.
const (
	readerPatience = time.Second
	diskPatience   = 10 * time.Second
)

// Close prints the rest of the trace, and ends the recording. If a reader is stuck, it
// takes a second; if a disk is, ten.
func (t *Tracing) Close() {
	if t == nil {
		return
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_ = t.tracer.Close(ended) // which doesn't wait
	started := time.Now()
	t.mu.Lock()
	followers := slices.Clone(t.followers)
	t.mu.Unlock()
	for _, follow := range followers {
		select {
		case <-follow.closed:
		case <-time.After(time.Until(started.Add(follow.patience))):
			follow.stuck()
		}
	}
}
