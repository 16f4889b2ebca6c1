// Package tracing shows the calls of sessions while they happen.
//
//	var opts tracing.Options
//	flags := opts.Flags()
//	…
//	t, err := opts.Start(&tracing.Output{…})
//	defer t.Close()
//	sessionOptions.Observe = t.Observe()
//
// A nil Tracing, that of a command without any of the flags, does nothing.
package tracing

import (
	"context"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

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
}

// Flags returns the flags of commands with a session.
func (o *Options) Flags() []cli.Flag {
	return []cli.Flag{
		usage.Bool(&o.Trace, "trace", "print each RPC of the session on stderr: when it ends, when it has been open for 200ms, and while it stays open"),
		usage.Bool(&o.Messages, "trace-messages", "also print each message as it passes"),
		usage.Bool(&o.Full, "trace-full", "also print long messages whole"),
		usage.Strings(&o.Filter, "filter", "trace only calls that fulfil the `TERMS`, such as 'Hub/* status!=OK'; repeatable: any of them"),
		usage.Strings(&o.Redact, "redact", "hide the values of message fields and metadata named `GLOB` in the trace; repeatable"),
	}
}

// PrintFlags returns the flags of a command that prints events.
func (o *Options) PrintFlags() []cli.Flag {
	return []cli.Flag{
		usage.Bool(&o.Messages, "trace-messages", "also print each message"),
		usage.Bool(&o.Full, "trace-full", "also print long messages whole"),
		usage.Strings(&o.Filter, "filter", "print only calls that fulfil the `TERMS`, such as 'Hub/* status!=OK'; repeatable: any of them"),
	}
}

// TapFlags returns the flags of a command whose purpose is the trace.
func (o *Options) TapFlags() []cli.Flag {
	return append(o.PrintFlags(),
		usage.Strings(&o.Redact, "redact", "hide the values of message fields and metadata named `GLOB`; repeatable"))
}

// Output is the destination of a trace.
type Output struct {
	Writer  io.Writer       // receives whole lines
	JSON    bool            // events; otherwise lines for people
	Width   func() int      // of the terminal; nil: Writer isn't one
	Secrets *escape.Secrets // masked
	Token   string          // the name of the header with the token, secret as metadata; may be empty

	Catalog *reflection.Catalog // finds the types of messages; may be nil
	Learned *Learned            // receives the files that the trace sees; nil: none are needed
	Summary bool                // print a summary at the end
}

// Tracing is a running trace.
type Tracing struct {
	tracer   *trace.Tracer
	follower *follower
	summary  bool
}

// Asked reports whether the command line, and not only the environment, asks for a trace.
func (o *Options) Asked() bool {
	return o.Given["trace"] || o.Given["trace-messages"] || o.Given["trace-full"]
}

// on reports whether the flags ask for a trace.
func (o *Options) on() bool { return o.Trace || o.Messages || o.Full }

// Start starts a trace, or returns nil if the flags don't ask for one. Errors are usage
// errors.
func (o *Options) Start(out *Output) (*Tracing, error) {
	follow, opts, err := o.newFollower(out)
	if follow == nil || err != nil {
		return nil, err
	}
	return &Tracing{trace.New(follow, opts), follow, out.Summary}, nil
}

// newFollower returns the Sink of the trace and the options of its Tracer, nil without a
// trace.
func (o *Options) newFollower(out *Output) (*follower, *trace.Options, error) {
	f, err := parseFilter(o.Filter)
	if err != nil {
		return nil, nil, err
	}
	for _, pattern := range o.Redact {
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, nil, usage.Errorf("--redact %q: not a pattern such as secret or *key*", pattern)
		}
	}
	switch {
	case !o.on() && o.Given["filter"]:
		return nil, nil, usage.Errorf("--filter without --trace or --trace-messages")
	case !o.on() && o.Given["redact"]:
		return nil, nil, usage.Errorf("--redact without --trace or --trace-messages")
	case !o.on():
		return nil, nil, nil
	}
	catalog := out.Catalog
	if catalog == nil {
		catalog = reflection.NewCatalog()
	}
	ms := &messages{
		schema: newSchema(catalog), show: o.Messages || o.Full, full: o.Full,
		fields: f.any(func(t condition) bool { return t.fields }), redact: o.Redact, learned: out.Learned,
	}
	follow := &follower{
		out: out.Writer, messages: ms, filter: f, hide: !f.any(func(t condition) bool { return t.method }),
		calls: map[uint64]*call{}, stages: newStages(),
	}
	var omit []trace.Type
	if out.JSON {
		follow.render = &jsonRenderer{ms, out.Secrets}
	} else {
		follow.render = newTextRenderer(out, ms)
		omit = []trace.Type{trace.ServerHeader, trace.ClientHalfClose} // there are no lines for them
	}
	opts := &trace.Options{Body: ms.body(), Omit: omit, IsSecret: func(name string) bool {
		return trace.IsSecret(name) || strings.EqualFold(name, out.Token) || matches(o.Redact, name) // names are in lower case
	}}
	if out.Learned != nil && ms.body() != 0 {
		opts.Whole = isReflection
	}
	if ms.full {
		const large = 256 << 20 // some messages of the largest size
		opts.Queue, opts.Memory = large, large
	}
	return follow, opts, nil
}

func matches(patterns []string, name string) bool {
	for _, pattern := range patterns {
		if ok, _ := path.Match(strings.ToLower(pattern), name); ok {
			return true
		}
	}
	return false
}

// newTextRenderer returns a renderer for out.
func newTextRenderer(out *Output, ms *messages) *textRenderer {
	r := &textRenderer{messages: ms, secrets: out.Secrets, width: func() int { return 0 }, names: map[string]string{}, taken: map[string]bool{}}
	if out.Width != nil {
		r.color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" // https://no-color.org
		r.width = out.Width
	}
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if locale := strings.ToUpper(os.Getenv(name)); locale != "" {
			r.ascii = !strings.Contains(locale, "UTF-8") && !strings.Contains(locale, "UTF8")
			break
		}
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

// Forget makes the trace ask for the types of messages again, because there is another
// server.
func (t *Tracing) Forget() {
	if t != nil {
		t.follower.messages.schema.forget()
	}
}

// closeTimeout is how long Close waits for a slow reader.
const closeTimeout = time.Second

// Close prints the rest of the trace. It takes at most a second.
func (t *Tracing) Close() {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if t.tracer.Close(ctx) != nil {
		return // the reader is stuck, and so is the follower
	}
	t.follower.close(t.summary)
}
