package wsmux

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
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
	config.MaxStreamWindowSize = cmp.Or(opts.Window, initialWindow)
	config.LogOutput = nil
	config.Logger = muxLogger{conn.session.logger}
	if role == Server {
		return yamux.Server(conn, config)
	}
	return yamux.Client(conn, config)
}

// muxConn is the conn that yamux runs on. It knows where frames begin.
//
// Inwards it hands the data of streams to their inboxes, and the rest to yamux.
// It holds up a peer that sends Pings and doesn't read the answers: yamux starts a
// goroutine for each of them.
//
// Outwards it sends what yamux has to say, for streams send their data themselves.
//
// Where the yamux session is also the caller's, to open streams on, data goes
// through yamux unless it is sent on a Stream. Its header and its body go as one
// message: yamux's only writing goroutine writes one directly after the other.
type muxConn struct {
	*transport
	session *Session
	started chan struct{} // closed once session.mux is set
	in      *bufio.Reader // of the transport
	below   *batchConn    // below TLS; may be nil
	pings   chan struct{} // a token for each Ping that waits for its answer

	outHead []byte // of the frame whose body is written next

	inHead [yamuxHeaderSize]byte
	toRead []byte // what yamux is to read next: the rest of a header
	inBody uint32 // what is left of a body that is yamux's to read
}

func newMuxConn(s *Session, inspect func([]byte)) *muxConn {
	var in io.Reader = s.t
	if inspect != nil {
		in = inspectedReader{s.t, inspect}
	}
	return &muxConn{
		transport: s.t,
		session:   s,
		started:   make(chan struct{}),
		in:        bufio.NewReader(in),
		below:     batchBelow(s.t.ws.NetConn()),
		pings:     make(chan struct{}, maxPings),
	}
}

// inspectedReader shows what it reads.
type inspectedReader struct {
	io.Reader
	inspect func([]byte)
}

func (r inspectedReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.inspect(p[:n])
	}
	return n, err
}

const (
	yamuxVersion          = 0
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
	var n int
	var err error
	if c.inBody > 0 {
		n, err = c.in.Read(p[:min(uint32(len(p)), c.inBody)]) //nolint:gosec // a buffer of yamux's
		c.inBody -= uint32(n)                                 //nolint:gosec // as above
	} else {
		for len(c.toRead) == 0 && err == nil {
			err = c.readFrame()
		}
		n = copy(p, c.toRead)
		c.toRead = c.toRead[n:]
	}
	if err != nil {
		c.session.wakeStreams()
	}
	return n, err
}

// readFrame reads a header and, if it is not for yamux to read, the body.
func (c *muxConn) readFrame() error {
	if h := c.session.nextReset(); h != nil {
		c.toRead = h
		return nil
	}
	h := c.inHead[:]
	if _, err := io.ReadFull(c.in, h); err != nil {
		return err
	}
	kind, length := h[1], binary.BigEndian.Uint32(h[8:])
	if h[0] != yamuxVersion || kind > yamuxTypeWindowUpdate {
		if isPing(h, yamuxFlagSYN) {
			select {
			case c.pings <- struct{}{}:
			case <-c.closing:
			}
		}
		c.toRead = h
		return nil
	}
	e := c.session.begin(h)
	switch {
	case kind == yamuxTypeWindowUpdate:
	case c.session.shared:
		c.inBody = length
	default:
		if err := c.readBody(e, length); err != nil {
			return err
		}
		binary.BigEndian.PutUint32(h[8:], 0) // yamux is to see the flags
		if flagsOf(h) == 0 {
			return nil
		}
	}
	if e != nil {
		c.session.finish(e, h, true)
	}
	c.toRead = h
	return nil
}

// readBody hands a body to the stream's inbox. Without a stream, which has been
// closed then, it drops it.
func (c *muxConn) readBody(e *ends, length uint32) error {
	buf := frames.Get().(*[]byte) //nolint:errcheck // nothing else is in there
	defer frames.Put(buf)
	for length > 0 {
		p := (*buf)[:min(length, mostData)]
		n, err := c.readReady(p)
		length -= uint32(n) //nolint:gosec // not more than it
		if n > 0 && e != nil {
			if err := e.in.deliver(p[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readReady reads what is there, and waits if that is nothing. TLS hands out one
// record at a time.
func (c *muxConn) readReady(p []byte) (int, error) {
	n, err := c.in.Read(p)
	for n < len(p) && err == nil && c.below.readable() {
		var k int
		k, err = c.in.Read(p[n:])
		n += k
	}
	return n, err
}

// isPing reports whether header is that of a Ping (SYN) or its answer (ACK).
func isPing(header []byte, flag uint16) bool {
	return header[1] == yamuxTypePing && flagsOf(header)&flag != 0
}

func (c *muxConn) Write(p []byte) (int, error) {
	var err error
	if len(c.outHead) > 0 {
		err = c.send(c.outHead, p)
		c.outHead = c.outHead[:0]
	} else {
		err = c.writeHeader(p)
	}
	if err != nil {
		return 0, c.session.sendFailed(err)
	}
	return len(p), nil
}

func (c *muxConn) writeHeader(h []byte) error {
	if h[1] <= yamuxTypeWindowUpdate {
		if e := c.session.begin(h); e != nil {
			c.session.finish(e, h, false)
		}
	}
	if h[1] == yamuxTypeData {
		c.outHead = append(c.outHead, h...)
		return nil
	}
	err := c.send(h, nil)
	if isPing(h, yamuxFlagACK) {
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
