package check

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/mux"
	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// maxReceived is the number of a stream's first bytes that an observer keeps:
// enough for an HTTP/2 SETTINGS frame.
const maxReceived = 256

// observer records the first stream that each end of a session opens. It sees the
// peer's stream before this end accepts it.
type observer struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced when state changes
	state   observation

	sealed bool // there is TLS in the streams of this end: startTLS records the bytes
}

// observation is an observer's record.
type observation struct {
	role     wsmux.Role  // of this end
	ours     streamState // the first stream that this end opened
	theirs   streamState // the first stream that the peer opened
	unclosed int         // streams that this end opened and hasn't closed
	openErr  error       // why this end couldn't open a stream
	inner    innerState
}

// streamState is the peer's part of a stream.
type streamState struct {
	id       uint32 // 0: no such stream yet
	accepted bool
	reset    bool
	ended    bool // closed or reset
	received []byte
}

// receive keeps the first bytes.
func (s *streamState) receive(p []byte) {
	s.received = append(s.received, p[:min(len(p), maxReceived-len(s.received))]...)
}

func newObserver(role wsmux.Role) *observer {
	return &observer{changed: make(chan struct{}), state: observation{role: role}}
}

// update calls f, which may change the state, and wakes wait.
func (o *observer) update(f func(s *observation)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f(&o.state)
	close(o.changed)
	o.changed = make(chan struct{})
}

// observe implements wsmux.Options.Observe.
func (o *observer) observe(id uint32, opened bool) *mux.StreamObserver {
	var stream *streamState
	o.update(func(s *observation) {
		switch {
		case !opened && s.theirs.id == 0:
			stream = &s.theirs
		case opened && s.ours.id == 0:
			stream = &s.ours
		case opened: // counted in unclosed, not recorded
			stream = &streamState{}
		default:
			return
		}
		stream.id = id
		if opened {
			s.unclosed++
		}
	})
	if stream == nil {
		return nil
	}
	closed := !opened
	closeOurs := func(s *observation) {
		if !closed {
			s.unclosed--
		}
		closed = true
	}
	return &mux.StreamObserver{
		Accepted: func() { o.update(func(*observation) { stream.accepted = true }) },
		Received: func(p []byte) {
			if !opened || !o.sealed {
				o.update(func(*observation) { stream.receive(p) })
			}
		},
		Closed: func(byPeer bool) {
			o.update(func(s *observation) {
				if byPeer {
					stream.ended = true
				} else {
					closeOurs(s)
				}
			})
		},
		End: func(err error) {
			o.update(func(s *observation) {
				closeOurs(s)
				if reset := errors.Is(err, mux.ErrReset); reset || err == nil { // any other error ends the session, too
					stream.ended, stream.reset = true, reset
				}
			})
		},
	}
}

// current returns the state.
func (o *observer) current() observation {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.state
}

// wait blocks until cond returns true, session ends, or ctx ends. It returns the
// state and cond's result.
func (o *observer) wait(ctx context.Context, session *wsmux.Session, cond func(observation) bool) (observation, bool) {
	for {
		o.mu.Lock()
		state, changed := o.state, o.changed
		o.mu.Unlock()
		if cond(state) {
			return state, true
		}
		select {
		case <-changed:
		case <-session.Done():
			state = o.current() // no more changes follow
			return state, cond(state)
		case <-ctx.Done():
			return state, false
		}
	}
}

// equalRoles reports whether the peer has this end's yamux role: it opened a
// stream with a number that only this end may use. A yamux client's are odd.
func (s observation) equalRoles() bool {
	return s.theirs.id != 0 && (s.theirs.id%2 == 1) == (s.role == wsmux.Client)
}

// peerCalls reports whether the peer is a gRPC client.
func (s observation) peerCalls() bool {
	return netdiag.Identify(s.theirs.received) == netdiag.HTTP2Client
}

// maxQuote is the number of characters of a peer's bytes that a detail repeats.
const maxQuote = 60

// describeBytes names the protocol that b begins with, or quotes b without secrets if the
// protocol is unknown.
func describeBytes(b []byte, secrets *escape.Secrets) string {
	quote := func(text string) string { return fmt.Sprintf("%q", netdiag.Truncate(secrets.Mask(text), maxQuote)) }
	switch protocol := netdiag.Identify(b); protocol {
	case "":
		return quote(string(b))
	case netdiag.HTTP1:
		line, _, _ := strings.Cut(string(b), "\r\n")
		return string(protocol) + ", " + quote(line)
	default:
		return string(protocol)
	}
}
