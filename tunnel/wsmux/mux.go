package wsmux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/gorilla/websocket"
	"github.com/hashicorp/yamux"
)

const (
	// writeTimeout bounds how long the socket may take for a frame, and is
	// yamux's ConnectionWriteTimeout. That runs from the moment a frame is queued,
	// so 64 busy streams on a slow link use up yamux's default of ten seconds
	// while all is well.
	writeTimeout = 60 * time.Second

	// halfCloseTimeout is how long yamux lets a stream live whose local end
	// is closed and whose remote end isn't. It is yamux's default.
	halfCloseTimeout = 5 * time.Minute

	// acceptBacklog is how many streams may wait to be accepted. The value is
	// yamux's default, because yamux takes it to be the same at both ends.
	acceptBacklog = 256

	// maxPings is how many Pings of yamux may be unanswered. It is well above
	// what fits the 4 KiB that yamux reads ahead.
	maxPings = 1024
)

// startMux starts yamux on conn.
func startMux(conn *muxConn, role Role, opts *Options) (*yamux.Session, error) {
	config := yamux.DefaultConfig()
	config.EnableKeepAlive = false
	config.ConnectionWriteTimeout = conn.writeTimeout
	config.StreamCloseTimeout = halfCloseTimeout
	config.StreamOpenTimeout = 0 // it closes the whole session when one stream isn't accepted
	config.AcceptBacklog = acceptBacklog
	config.MaxStreamWindowSize = opts.Window
	if opts.Window == 0 {
		// What has been read counts for yamux only when it is half of this.
		config.MaxStreamWindowSize = 2 * maxWindow
	}
	config.LogOutput = nil
	config.Logger = muxLogger{conn.session.logger}
	if role == Server {
		return yamux.Server(conn, config)
	}
	return yamux.Client(conn, config)
}

// muxConn is the conn that yamux runs on. It knows where frames begin.
//
// Outwards it sends what yamux itself has to say, for streams send their data
// themselves. The header of a data frame, as of a stream that yamux handed out,
// goes together with its body, as one message and one system call: yamux's only
// writing goroutine writes the two one directly after the other. With windows that
// grow it drops what yamux grants the peer: see receiveWindow.
//
// Inwards it holds up a peer that sends Pings and doesn't read the answers:
// yamux starts a goroutine for each of them.
type muxConn struct {
	*transport
	session *Session
	started chan struct{} // closed once session.mux is set
	header  []byte        // of the frame whose body is written next
	inspect func([]byte)  // Options.Inspect; may be nil

	pings  chan struct{} // a token for each Ping that waits for its answer
	inHead []byte        // what has been read of a header
	inBody uint32        // what is left to read of a body
}

func newMuxConn(s *Session, inspect func([]byte)) *muxConn {
	return &muxConn{transport: s.t, session: s, inspect: inspect, started: make(chan struct{}), pings: make(chan struct{}, maxPings)}
}

const (
	yamuxHeaderSize       = 12 // version, type, flags (2), stream (4), length (4); spec.md of yamux
	yamuxTypeData         = 0
	yamuxTypeWindowUpdate = 1
	yamuxTypePing         = 2
	yamuxFlagSYN          = 1
	yamuxFlagACK          = 2
	yamuxFlagFIN          = 4
	yamuxFlagRST          = 8
)

func (c *muxConn) Read(p []byte) (int, error) {
	n, err := c.transport.Read(p)
	if err != nil {
		c.session.wakeStreams()
	}
	if c.inspect != nil && n > 0 {
		c.inspect(p[:n])
	}
	c.follow(p[:n])
	return n, err
}

// follow takes notice of the frames in p. It takes a token for each Ping, and
// waits while there is none.
func (c *muxConn) follow(p []byte) {
	for len(p) > 0 {
		if c.inBody > 0 {
			n := min(uint32(len(p)), c.inBody) //nolint:gosec // a buffer of yamux's
			p = p[n:]
			c.inBody -= n
			continue
		}
		n := min(len(p), yamuxHeaderSize-len(c.inHead))
		c.inHead = append(c.inHead, p[:n]...)
		p = p[n:]
		if len(c.inHead) < yamuxHeaderSize {
			return
		}
		c.session.note(c.inHead, true)
		switch {
		case c.inHead[1] == yamuxTypeData:
			c.inBody = binary.BigEndian.Uint32(c.inHead[8:])
		case isPing(c.inHead, yamuxFlagSYN):
			select {
			case c.pings <- struct{}{}:
			case <-c.closing:
			}
		}
		c.inHead = c.inHead[:0]
	}
}

// isPing reports whether header is that of a Ping (SYN) or its answer (ACK).
func isPing(header []byte, flag uint16) bool {
	return header[1] == yamuxTypePing && binary.BigEndian.Uint16(header[2:])&flag != 0
}

func (c *muxConn) Write(p []byte) (int, error) {
	var err error
	if len(c.header) > 0 {
		err = c.send(c.header, p)
		c.header = c.header[:0]
	} else {
		err = c.writeHeader(p)
	}
	if err != nil {
		return 0, c.session.sendFailed(err)
	}
	return len(p), nil
}

func (c *muxConn) writeHeader(p []byte) error {
	c.session.note(p, false)
	switch {
	case p[1] == yamuxTypeData && binary.BigEndian.Uint32(p[8:]) > 0:
		c.header = append(c.header, p...)
		return nil
	case p[1] == yamuxTypeWindowUpdate && c.session.autoWindow:
		if flags := withoutGrant(p); flags != nil {
			return c.send(flags, nil)
		}
		return nil
	}
	err := c.send(p, nil)
	if isPing(p, yamuxFlagACK) {
		select {
		case <-c.pings:
		default:
		}
	}
	return err
}

// Close is called by yamux when the session ends. The GoAway with which yamux
// reports a protocol error often doesn't get out in time, so the Close frame
// carries the news.
func (c *muxConn) Close() error {
	<-c.started
	c.session.wakeStreams()
	code, reason := websocket.CloseNormalClosure, ""
	if err := c.session.protocolError(); err != nil {
		code, reason = websocket.CloseProtocolError, err.Error()
	} else if cause := c.session.cause.Load(); cause != nil {
		code, reason = websocket.CloseInternalServerErr, cause.err.Error()
	}
	c.closeWith(code, reason)
	return nil
}

// yamuxError returns what ended the yamux session. Only accepting reveals it,
// after the streams that still wait to be accepted.
func (s *Session) yamuxError() error {
	s.muxErrOnce.Do(func() {
		for range acceptBacklog + 1 {
			if _, s.muxErr = s.mux.AcceptStream(); s.muxErr != nil && !errors.Is(s.muxErr, yamux.ErrSessionShutdown) {
				return
			}
		}
	})
	return s.muxErr
}

// protocolError returns what is wrong in what the peer sent, if that is why
// yamux ended the session, and says what usually stands behind it.
func (s *Session) protocolError() error {
	err := s.yamuxError()
	switch {
	case errors.Is(err, yamux.ErrDuplicateStream):
		return fmt.Errorf("yamux: %w: both ends have the yamux role %v", err, s.role)
	case errors.Is(err, yamux.ErrInvalidVersion), errors.Is(err, yamux.ErrInvalidMsgType):
		return fmt.Errorf("yamux: %w: the peer doesn't speak yamux", err)
	case errors.Is(err, yamux.ErrRecvWindowExceeded), errors.Is(err, yamux.ErrUnexpectedFlag):
		return fmt.Errorf("yamux: %w", err)
	}
	return nil
}

// muxLogger passes what yamux logs on to slog.
type muxLogger struct{ logger *slog.Logger }

func (l muxLogger) Printf(format string, v ...any) {
	if l.logger.Enabled(context.Background(), slog.LevelDebug) {
		l.logger.Debug("yamux", slog.String("message", fmt.Sprintf(format, v...)))
	}
}

func (l muxLogger) Print(v ...any)   { l.Printf("%s", fmt.Sprint(v...)) }
func (l muxLogger) Println(v ...any) { l.Printf("%s", fmt.Sprint(v...)) }
