package web

import (
	"context"
	"log"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// The limits of NewServer.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 32 << 10
	maxRequests   = 64 // at a time, including streams

	// WriteTimeout is how long a write of a response may take. Handlers of endless responses
	// set it for each write.
	WriteTimeout = 10 * time.Second
)

// NewServer returns a server with limits for the time and number of requests and the number
// of connections. Problems with
// clients are logged at debug level. Its Shutdown ends the contexts of requests first, so that
// endless responses end; the end of ctx doesn't end them.
func NewServer(ctx context.Context, handler http.Handler, logger *slog.Logger) *http.Server {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &http.Server{
		ConnState:         newConns().track,
		Handler:           limited(handler),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(debugLog{logger}, "", 0),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	s.RegisterOnShutdown(cancel)
	return s
}

// limited refuses requests beyond maxRequests with 503, and bounds the time for reading a
// body and for writing.
func limited(next http.Handler) http.Handler {
	slots := make(chan struct{}, maxRequests)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		deadline := time.Now().Add(WriteTimeout)
		control := http.NewResponseController(w)
		_ = control.SetReadDeadline(deadline) // for a refusal as well: the server then reads the body
		_ = control.SetWriteDeadline(deadline)
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			next.ServeHTTP(w, r)
		default:
			w.Header().Set("Retry-After", "1")
			http.Error(w, "wstun: too many requests at a time", http.StatusServiceUnavailable)
		}
	})
}

// debugLog logs the lines of an http.Server.
type debugLog struct{ logger *slog.Logger }

func (l debugLog) Write(p []byte) (int, error) {
	l.logger.Debug("admin", slog.String("err", string(p)))
	return len(p), nil
}

// StreamWriter writes parts of an endless response, each of which is sent at once. A client that
// doesn't read for WriteTimeout makes Write fail.
type StreamWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

// NewStream begins an endless response of lines in JSON.
func NewStream(w http.ResponseWriter) *StreamWriter {
	w.Header().Set("Content-Type", "application/x-ndjson")
	s := &StreamWriter{w, http.NewResponseController(w)}
	_ = s.control.SetReadDeadline(time.Time{}) // otherwise the request's context would end
	return s
}

func (s *StreamWriter) Write(p []byte) (int, error) {
	_ = s.control.SetWriteDeadline(time.Now().Add(WriteTimeout))
	n, err := s.w.Write(p)
	if err == nil {
		err = s.control.Flush()
	}
	return n, err
}
