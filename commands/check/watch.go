package check

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"

	"github.com/wstun/wstun/tunnel/wsmux"
)

// yamux's frames: its spec.md.
const (
	headerSize = 12 // version, type, flags (2), stream (4), length (4)

	typeData   = 0
	typePing   = 2
	typeGoAway = 3

	flagSYN = 1 // opens a stream, asks with a Ping
	flagACK = 2 // accepts a stream, answers a Ping
	flagFIN = 4 // closes one direction
	flagRST = 8
)

// maxHead is how much is kept of what comes first, on the whole and on each of
// two streams, in bytes: an HTTP/2 SETTINGS frame and more.
const maxHead = 256

// watch reads along what the peer sends. yamux tells too little of it: not
// whether the peer has accepted a stream, nor which ones it has opened before
// they are accepted here.
type watch struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced when seen changes
	broken  chan struct{} // closed when seen.broken is set
	seen    record
	header  []byte // what has been read of the next frame's
	body    uint32 // what is left to read of a data frame's
	stream  *heard // whose body that is; nil: nobody's that matters
}

// record is what the peer has sent.
type record struct {
	head   []byte // the first bytes
	broken bool   // they are not yamux
	echoes int    // yamux Pings, numbered as this side's are
	goAway bool   // the peer wants no more streams
	ours   heard  // the stream that this side opens
	theirs heard  // the first that the peer has opened
}

// heard is what has come on a stream.
type heard struct {
	id       uint32 // 0: there is no such stream
	accepted bool
	reset    bool
	ended    bool // closed by the peer, or reset
	data     []byte
}

// newWatch returns a watch for a session in which this side has the given role.
func newWatch(role wsmux.Role) *watch {
	w := &watch{changed: make(chan struct{}), broken: make(chan struct{})}
	w.seen.ours.id = 1
	if role == wsmux.Server {
		w.seen.ours.id = 2
	}
	return w
}

// inspect is for wsmux's Options.
func (w *watch) inspect(p []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen.head = keep(w.seen.head, p)
	for len(p) > 0 && !w.seen.broken {
		if w.body > 0 {
			n := min(uint32(len(p)), w.body) //nolint:gosec // a buffer of yamux's
			if w.stream != nil {
				w.stream.data = keep(w.stream.data, p[:n])
			}
			w.body -= n
			p = p[n:]
			continue
		}
		n := min(len(p), headerSize-len(w.header))
		w.header = append(w.header, p[:n]...)
		p = p[n:]
		switch {
		case !isYamux(w.header):
			w.seen.broken = true
			close(w.broken)
		case len(w.header) == headerSize:
			w.frame()
			w.header = w.header[:0]
		}
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

// keep appends p to what is kept, up to maxHead.
func keep(kept, p []byte) []byte { return append(kept, p[:min(len(p), maxHead-len(kept))]...) }

// isYamux reports whether b, with which a frame begins, can be yamux: version 0,
// one of four types, and data on streams only, of which 0 is none.
func isYamux(b []byte) bool {
	return b[0] == 0 && (len(b) < 2 || b[1] <= typeGoAway) &&
		(len(b) < headerSize || b[1] != typeData || binary.BigEndian.Uint32(b[4:]) != 0)
}

// frame notes what the frame is that w.header belongs to.
func (w *watch) frame() {
	kind, flags := w.header[1], binary.BigEndian.Uint16(w.header[2:])
	id, length := binary.BigEndian.Uint32(w.header[4:]), binary.BigEndian.Uint32(w.header[8:])
	switch kind {
	case typeGoAway:
		w.seen.goAway = true
		return
	case typePing: // yamux numbers its Pings from 0
		if flags&flagSYN != 0 && w.seen.echoes < yamuxPings && length == uint32(w.seen.echoes) { //nolint:gosec // a few
			w.seen.echoes++
		}
		return
	case typeData:
		w.body = length
	}
	if flags&flagSYN != 0 && w.seen.theirs.id == 0 {
		w.seen.theirs.id = id
	}
	switch id {
	case w.seen.theirs.id: // before ours: in the same role they have the same number
		w.stream = &w.seen.theirs
	case w.seen.ours.id:
		w.stream = &w.seen.ours
	default:
		w.stream = nil
		return
	}
	w.stream.accepted = w.stream.accepted || flags&flagACK != 0
	w.stream.reset = w.stream.reset || flags&flagRST != 0
	w.stream.ended = w.stream.ended || flags&(flagFIN|flagRST) != 0
}

// now returns what has been seen so far.
func (w *watch) now() record {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen
}

// until waits until cond holds, for as long as ctx and the session last, and
// returns what has been seen by then and whether cond holds.
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
			r = w.now() // its last words
			return r, cond(r)
		case <-ctx.Done():
			return r, false
		}
	}
}

// sameRole reports whether the peer has this side's yamux role: it has opened a
// stream with a number that is this side's to give.
func (r record) sameRole() bool { return r.theirs.id != 0 && r.theirs.id%2 == r.ours.id%2 }

// calls reports whether the peer is a gRPC client.
func (r record) calls() bool { return strings.HasPrefix(string(r.theirs.data), clientPreface) }

// clientPreface is what an HTTP/2 client sends first (RFC 9113 §3.4).
const clientPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// identify names the protocol that begins with b, if it is one that is met in
// the wrong place.
func identify(b []byte) string {
	s := string(b)
	switch {
	case strings.HasPrefix(s, clientPreface):
		return "an HTTP/2 client preface"
	case strings.HasPrefix(s, "HTTP/"):
		line, _, _ := strings.Cut(s, "\r\n")
		return fmt.Sprintf("an HTTP/1 answer, %q", clip(line))
	case len(b) > 2 && b[0] == 0x15 && b[1] == 3:
		return "a TLS alert"
	case len(b) > 2 && b[0] == 0x16 && b[1] == 3:
		return "a TLS handshake"
	case isSettings(b):
		return "HTTP/2 SETTINGS"
	}
	return ""
}

// frameHeader is the size of an HTTP/2 frame's header (RFC 9113 §4.1).
const frameHeader = 9

// isSettings reports whether b begins with an HTTP/2 SETTINGS frame, which is
// what a server sends first.
func isSettings(b []byte) bool {
	return len(b) >= frameHeader && b[0] == 0 && b[3] == 4 && b[4]&1 == 0 && binary.BigEndian.Uint32(b[5:]) == 0
}

// quote shows what b is, by name or as it stands.
func quote(b []byte) string {
	if name := identify(b); name != "" {
		return name
	}
	return fmt.Sprintf("%q", clip(string(b)))
}

// clip is the beginning of a peer's text.
func clip(s string) string {
	const most = 60
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
