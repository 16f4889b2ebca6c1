package tracing

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"time"
)

const (
	// liveQueue limits the memory of the events that wait for the reader of a live
	// recording, in bytes. Bodies may use half.
	liveQueue = 32 << 20

	// The lines of a live recording that wait for the verdict of a filter, in bytes.
	maxLiveHeld    = 1 << 20 // of a call
	maxAllLiveHeld = 16 << 20
)

// AttachOptions adjusts a live recording.
type AttachOptions struct {
	Messages bool     // with the messages' bytes and JSON; otherwise only their sizes
	Filter   []string // values of --filter
	Redact   []string // values of --redact, besides those of the command line

	// Attached is called once new calls are traced, such as to make clients reconnect, so that
	// their connections are followed. It must not block. Default: nothing is called.
	Attached func()
}

// Attach writes a live recording to w, in the format of package recording, until ctx ends,
// w fails, or Close is called. It has the calls that begin from now on, on connections that
// are followed: those that began while there was a trace. Secrets are left out.
//
// Lines are written when no event waits, and then flushed if w is an http.Flusher. A slow w
// doesn't delay the calls: events are left out and counted. Attach doesn't return before a Write
// of w does: when ctx ends, it sets a write deadline of a second if w has one.
//
// The error is a usage error, or that of [trace.Tracer.Attach], and then nothing is written;
// or that of w.
func (t *Tracing) Attach(ctx context.Context, w io.Writer, opts AttachOptions) error {
	o := &Options{Messages: opts.Messages, Filter: opts.Filter, Redact: slices.Concat(t.opts.Redact, opts.Redact)}
	f, err := o.check()
	if err != nil {
		return err
	}
	live := &liveWriter{w: w, failed: make(chan struct{})}
	stop := context.AfterFunc(ctx, live.hurry)
	defer stop()
	r, output := o.newRecorder(t.out, f, slog.New(slog.DiscardHandler))
	output.Body = r.messages.body()
	r.follower.out, r.follower.buffer, r.follower.patience = live, r.head(false), readerPatience
	r.follower.maxHeld, r.follower.maxAllHeld = maxLiveHeld, maxAllLiveHeld
	r.messages.forget = t.Forget
	output.Queue = liveQueue
	if t.out.Learned != nil && output.Body >= 0 {
		output.Whole = isReflection
	}
	t.add(r.follower)
	defer t.remove(r.follower)
	detach, err := t.tracer.Attach(*output)
	if err != nil {
		close(r.follower.closed)
		return err
	}
	if opts.Attached != nil {
		opts.Attached()
	}
	select {
	case <-ctx.Done():
	case <-live.failed:
	case <-r.follower.closed:
	}
	detach()
	<-r.follower.closed
	return live.err
}

func (t *Tracing) add(f *follower) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.followers = append(t.followers, f)
}

func (t *Tracing) remove(f *follower) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.followers = slices.DeleteFunc(t.followers, func(other *follower) bool { return other == f })
}

// liveWriter writes to w until that fails. One goroutine at a time uses it.
type liveWriter struct {
	w      io.Writer
	err    error
	failed chan struct{} // closed once err is set
}

func (l *liveWriter) Write(p []byte) (int, error) {
	if l.err != nil {
		return 0, l.err
	}
	n, err := l.w.Write(p)
	if err != nil {
		l.err = err
		close(l.failed)
		return n, err
	}
	if f, ok := l.w.(http.Flusher); ok {
		f.Flush()
	}
	return n, nil
}

// hurry gives a Write that may be blocked a moment to end.
func (l *liveWriter) hurry() {
	if w, ok := l.w.(interface{ SetWriteDeadline(t time.Time) error }); ok {
		_ = w.SetWriteDeadline(time.Now().Add(readerPatience))
	}
}
