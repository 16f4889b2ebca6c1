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
	// writeTimeout is yamux's ConnectionWriteTimeout. It runs from the moment
	// a frame is queued, so 64 busy streams on a slow link use up yamux's
	// default of ten seconds while all is well.
	writeTimeout = 60 * time.Second

	// halfCloseTimeout is how long yamux lets a stream live whose local end
	// is closed and whose remote end isn't. It is yamux's default.
	halfCloseTimeout = 5 * time.Minute

	// acceptBacklog is how many streams may wait to be accepted. The value is
	// yamux's default, because yamux takes it to be the same at both ends.
	acceptBacklog = 256
)

// startMux starts yamux on conn.
func startMux(conn *frameJoiner, role Role, opts *Options) (*yamux.Session, error) {
	config := yamux.DefaultConfig()
	config.EnableKeepAlive = false
	config.ConnectionWriteTimeout = writeTimeout
	if opts.writeTimeout != 0 {
		config.ConnectionWriteTimeout = opts.writeTimeout
	}
	config.StreamCloseTimeout = halfCloseTimeout
	config.StreamOpenTimeout = 0 // it closes the whole session when one stream isn't accepted
	config.AcceptBacklog = acceptBacklog
	config.MaxStreamWindowSize = DefaultWindow
	if opts.Window != 0 {
		config.MaxStreamWindowSize = opts.Window
	}
	config.LogOutput = nil
	config.Logger = newMuxLogger(opts.Logger)
	if role == Server {
		return yamux.Server(conn, config)
	}
	return yamux.Client(conn, config)
}

// frameJoiner is the conn that yamux runs on. It sends the header of a data
// frame together with its body, as one message and one system call: yamux's
// only writing goroutine writes the two one directly after the other.
type frameJoiner struct {
	*transport
	session *Session
	started chan struct{} // closed once session.mux is set
	header  []byte        // of the frame whose body comes next
}

const (
	yamuxHeaderSize = 12 // version, type, flags (2), stream (4), length (4); spec.md of yamux
	yamuxTypeData   = 0
)

func (j *frameJoiner) Write(p []byte) (int, error) {
	var err error
	switch {
	case len(j.header) > 0:
		err = j.writePair(j.header, p)
		j.header = j.header[:0]
	case len(p) == yamuxHeaderSize && p[1] == yamuxTypeData && binary.BigEndian.Uint32(p[8:]) > 0:
		j.header = append(j.header, p...)
	default:
		_, err = j.transport.Write(p)
	}
	if err != nil {
		j.awaitEnd()
		return 0, err
	}
	return len(p), nil
}

// Close is called by yamux when the session ends. The GoAway with which yamux
// reports a protocol error often doesn't get out in time, so the Close frame
// carries the news.
func (j *frameJoiner) Close() error {
	<-j.started
	code, reason := websocket.CloseNormalClosure, ""
	if err := j.session.protocolError(); err != nil {
		code, reason = websocket.CloseProtocolError, err.Error()
	}
	j.closeWith(code, reason)
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

func newMuxLogger(logger *slog.Logger) muxLogger {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return muxLogger{logger}
}

func (l muxLogger) Printf(format string, v ...any) {
	if l.logger.Enabled(context.Background(), slog.LevelDebug) {
		l.logger.Debug("yamux", slog.String("message", fmt.Sprintf(format, v...)))
	}
}

func (l muxLogger) Print(v ...any)   { l.Printf("%s", fmt.Sprint(v...)) }
func (l muxLogger) Println(v ...any) { l.Printf("%s", fmt.Sprint(v...)) }
