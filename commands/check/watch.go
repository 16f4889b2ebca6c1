package check

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/wstun/wstun/tunnel/mux"
	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// maxHead is how many of a stream's first bytes are kept: enough for an HTTP/2
// SETTINGS frame.
const maxHead = 256

// watch observes the first stream that each end opens, the peer's also before this
// end accepts it.
type watch struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced when seen changes
	seen    record
}

// record is the result of the observation so far.
type record struct {
	role    wsmux.Role // of this end
	ours    heard      // the stream that this end opens
	theirs  heard      // the first that the peer opened
	openErr error      // why this end couldn't open one
}

// heard records what the peer did on a stream.
type heard struct {
	id       uint32 // 0: there is no such stream
	accepted bool
	reset    bool
	ended    bool // closed by the peer, or reset
	data     []byte
}

func newWatch(role wsmux.Role) *watch {
	return &watch{changed: make(chan struct{}), seen: record{role: role}}
}

// note changes the record.
func (w *watch) note(change func(seen *record)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.seen)
	close(w.changed)
	w.changed = make(chan struct{})
}

// observe is for wsmux.Options.
func (w *watch) observe(id uint32, opened bool) *mux.StreamObserver {
	stream := &w.seen.theirs
	if opened {
		stream = &w.seen.ours
	}
	first := false
	w.note(func(*record) {
		if first = stream.id == 0; first {
			stream.id = id
		}
	})
	if !first {
		return nil
	}
	return &mux.StreamObserver{
		Accepted: func() { w.note(func(*record) { stream.accepted = true }) },
		Received: func(p []byte) {
			w.note(func(*record) { stream.data = append(stream.data, p[:min(len(p), maxHead-len(stream.data))]...) })
		},
		Closed: func(byPeer bool) { w.note(func(*record) { stream.ended = stream.ended || byPeer }) },
		End: func(err error) {
			if reset := errors.Is(err, mux.ErrReset); reset || err == nil { // otherwise the session's end says more
				w.note(func(*record) { stream.ended, stream.reset = true, reset })
			}
		},
	}
}

// now returns the record so far.
func (w *watch) now() record {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen
}

// until waits until cond holds, but no longer than ctx and the session last. It
// returns the record and whether cond holds.
func (w *watch) until(ctx context.Context, session *wsmux.Session, cond func(record) bool) (record, bool) {
	for {
		w.mu.Lock()
		r, changed := w.seen, w.changed
		w.mu.Unlock()
		if cond(r) {
			return r, true
		}
		select {
		case <-changed:
		case <-session.Done():
			r = w.now() // now complete
			return r, cond(r)
		case <-ctx.Done():
			return r, false
		}
	}
}

// sameRole reports whether the peer has this end's yamux role: it has opened a
// stream with a number that only this end may use. The client's are odd.
func (r record) sameRole() bool {
	return r.theirs.id != 0 && (r.theirs.id%2 == 1) == (r.role == wsmux.Client)
}

// calls reports whether the peer is a gRPC client.
func (r record) calls() bool { return netdiag.Identify(r.theirs.data) == netdiag.HTTP2Client }

// identify names the protocol that begins with b, "" if it is unknown.
func identify(b []byte) string {
	protocol := netdiag.Identify(b)
	if protocol == netdiag.HTTP1 {
		line, _, _ := strings.Cut(string(b), "\r\n")
		return fmt.Sprintf("%s, %q", protocol, netdiag.Cut(line, maxQuote))
	}
	return string(protocol)
}

// maxQuote is how many characters of a peer's bytes a detail repeats.
const maxQuote = 60

// quote returns the name of the protocol that begins with b, or else b quoted.
func quote(b []byte) string {
	if name := identify(b); name != "" {
		return name
	}
	return fmt.Sprintf("%q", netdiag.Cut(string(b), maxQuote))
}
