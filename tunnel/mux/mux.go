// Package mux multiplexes streams over one connection with the yamux protocol.
// Any yamux implementation can be at the other end.
//
//	session, err := mux.New(mux.NewTransport(conn), mux.Client, nil)
//	stream, err := session.Open(ctx)   // a net.Conn
//
//	session, err := mux.New(mux.NewTransport(conn), mux.Server, nil)
//	stream, err := session.Accept()
//
// Either end may open streams. spec.md beside this file says which choices this
// implementation makes where yamux's own specification leaves room.
//
// Lifetimes: [New] takes over the connection, and the end of a session closes
// it. The session ends when either end closes it, when the connection fails, or
// when the peer breaks the protocol. [Session.Done] is closed then, and
// [Session.Err] returns the reason.
//
// Concurrency: all methods may be called from any goroutine. One goroutine
// receives for the whole session; data is sent by the goroutines that call
// Write; frames without data are queued on the [Transport]. An idle stream has
// no goroutine and no buffer.
//
// Security: everything that a peer can make grow has a bound: the streams that
// it opens, the bytes that it sends before they are read, and the replies that
// it provokes and doesn't take.
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

// The roles have nothing to do with who dials the connection, or with who
// opens streams.
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

	// Observe is called for each stream when it comes into being, before
	// anything else happens on it; opened says that this end opened it. The
	// result, which may be nil, observes the stream. Observe must neither
	// block nor call the session. Default: nothing is observed.
	Observe func(stream uint32, opened bool) *StreamObserver

	// Logger receives frames for unknown streams and refused streams, at debug
	// level, and the first stream that is one too many, at warn level. Default:
	// discarded.
	Logger *slog.Logger
}

const (
	// acceptBacklog is how many streams may wait to be accepted, at either end.
	// hashicorp/yamux assumes the same number at both ends.
	acceptBacklog = 256

	// halfCloseTimeout is how long a stream lives whose local direction is
	// closed and whose remote direction isn't.
	halfCloseTimeout = 5 * time.Minute

	// maxReplies is how many replies (to Pings, and resets of refused streams)
	// may be queued. With more, the session reads nothing until the peer has
	// taken some.
	maxReplies = 1024

	// maxQueued is how many bytes may be queued when the peer opens a stream. With
	// more, the session reads nothing until the peer has taken them.
	maxQueued = 64 * 1024

	// maxLingering is how many streams closed at this end may wait for the peer
	// to close them. Beyond that, the oldest are reset.
	maxLingering = 16384

	// minSweep is how many streams closed at this end are kept before those that
	// the peer has closed since are dropped.
	minSweep = 64

	defaultMaxStreams = 65536

	// maxData is the largest body of a data frame that is sent, in bytes: a
	// longer one would keep other streams waiting.
	maxData = 256 * 1024

	// defaultRoundTrip is the round-trip time of a link that hasn't been
	// measured.
	defaultRoundTrip = 100 * time.Millisecond
)

var (
	// ErrReset means that the stream was reset.
	ErrReset = errors.New("connection reset")

	// ErrRemoteGoAway means that the peer accepts no more streams.
	ErrRemoteGoAway = errors.New("the peer is going away: it accepts no streams")

	// ErrStreamsExhausted means that all stream numbers have been used.
	ErrStreamsExhausted = errors.New("all stream numbers are used up")

	errHalfClosed = fmt.Errorf("half-closed for %v: %w", halfCloseTimeout, ErrReset)
)

// ProtocolError is the reason of a session's end when one of the two ends broke
// the protocol.
type ProtocolError struct {
	// Text describes the error.
	Text string

	// ByPeer means that the peer reports the error, which this end made.
	ByPeer bool

	// Received holds the bytes that this end couldn't read as yamux, up to 256
	// of them, if the peer doesn't speak yamux at all.
	Received []byte

	// Duplicate is the number of the stream that the peer opened a second time,
	// usually because both ends have the same role; otherwise 0.
	Duplicate uint32

	announce bool // with a GoAway frame
}

func (e *ProtocolError) Error() string { return "yamux: " + e.Text }
