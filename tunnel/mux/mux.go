// Package mux multiplexes streams over one connection with the yamux protocol.
// Any yamux implementation can be at the other end.
//
//	session, err := mux.New(transport, mux.Client, nil)
//	stream, err := session.Open(ctx)   // a net.Conn
//
//	session, err := mux.New(transport, mux.Server, nil)
//	stream, err := session.Accept()
//
// Either end may open streams. spec.md beside this file says which choices this
// implementation makes where yamux's own specification leaves room.
//
// Lifetimes: [New] takes ownership of the connection; the session closes it when
// it ends. The session ends when either end closes it, when the connection fails,
// or when the peer breaks the protocol. It then closes [Session.Done], and
// [Session.Err] returns the reason.
//
// Concurrency: all methods may be called from any goroutine. One goroutine
// receives for the whole session. The goroutines that call Write send the data
// themselves; frames without data are queued on the [Transport]. An idle stream
// has no goroutine and no buffer.
//
// Security: the memory that a peer can use is bounded: there are limits on the
// streams that it opens, the bytes that this end hasn't read, and the replies that
// the peer hasn't received.
package mux

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Role is one end of a session. The two ends must differ: the client numbers
// its streams 1, 3, 5 and so on, the server 2, 4, 6.
type Role int

// Either role may dial the connection, and either may open streams.
const (
	Client Role = iota
	Server
)

// String returns "client" or "server".
func (r Role) String() string {
	if r == Server {
		return "server"
	}
	return "client"
}

// Options adjusts a session. Its zero value and nil mean the defaults.
type Options struct {
	// Window is the size of each stream's receive window in bytes, at least
	// 256 KiB. Default: windows start at 256 KiB and grow with the link, to
	// 1 MiB on a short one and up to 16 MiB on a long one.
	Window uint32

	// RoundTrip returns the round-trip time of the link, which limits how far
	// windows grow, or 0 if it isn't known. It must neither block nor call the
	// session. Default: unknown, which counts as 100 ms.
	RoundTrip func() time.Duration

	// MaxStreams is how many streams the peer may have open. Further ones are
	// reset. Default: 65536.
	MaxStreams int

	// Unread limits the memory of received bytes that nothing has read yet. It may be
	// shared by sessions. Default: 256 MiB for this session.
	Unread *UnreadLimit

	// Observe returns the observer of a new stream, or nil for none. It is called
	// before any event of the stream; opened reports whether this end opened it.
	// Observe must neither block nor call the session. Default: no observers.
	Observe func(stream uint32, opened bool) *StreamObserver

	// Logger logs frames for unknown streams and refused streams at debug level,
	// and the first stream beyond MaxStreams or Unread at warn level. Default: nothing is
	// logged.
	Logger *slog.Logger
}

const (
	// acceptBacklog is how many streams may wait to be accepted, at either end.
	// hashicorp/yamux has the same default, and assumes that its peer does.
	acceptBacklog = 256

	// halfCloseTimeout is how long a stream may stay closed at this end and open
	// at the peer's. hashicorp/yamux's StreamCloseTimeout is the same.
	halfCloseTimeout = 5 * time.Minute

	// maxReplies is how many replies (to Pings, and resets of refused streams)
	// may be queued. At the limit, the session stops reading until the peer
	// receives some.
	maxReplies = 1024

	// maxQueued is how many bytes may be queued when the peer opens a stream.
	// Above the limit, the session stops reading until the queue is sent.
	maxQueued = 64 * 1024

	// maxLingering is how many streams closed at this end may wait for the peer
	// to close them. Beyond that, the oldest are reset.
	maxLingering = 16384

	// minSweep is the length of Session.lingering below which ended streams
	// aren't removed from it.
	minSweep = 64

	defaultMaxStreams = 65536

	// maxData is the largest body of a data frame that this end sends, in bytes.
	// Other streams wait while one is sent.
	maxData = 256 * 1024

	// maxTryWrite is the largest body of a data frame that TryWrite sends, in bytes. The
	// transport copies a part of it if the peer doesn't receive.
	maxTryWrite = 8 * 1024

	// defaultRoundTrip is the round-trip time of a link that hasn't been
	// measured.
	defaultRoundTrip = 100 * time.Millisecond
)

var (
	// ErrReset means that the stream was reset.
	ErrReset = errors.New("connection reset")

	// ErrRemoteGoAway means that the peer has sent GoAway: it accepts no more
	// streams.
	ErrRemoteGoAway = errors.New("the peer is going away: it accepts no streams")

	errStreamsExhausted = errors.New("all stream IDs are used up")

	errHalfClosed = fmt.Errorf("half-closed for %v: %w", halfCloseTimeout, ErrReset)
)

// ProtocolError means that the session ended because one end broke the protocol.
type ProtocolError struct {
	// Text describes the error.
	Text string

	// ByPeer means that the peer reported the error in a GoAway frame.
	ByPeer bool

	// Received holds the first bytes that aren't yamux, at most 256 of them, if
	// the peer doesn't speak yamux at all.
	Received []byte

	// Duplicate is the ID of a stream that the peer opened although it exists,
	// usually because both ends have the same role; otherwise 0.
	Duplicate uint32

	sendGoAway bool // report the error to the peer
}

func (e *ProtocolError) Error() string { return "yamux: " + e.Text }
