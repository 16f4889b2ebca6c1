package web

import (
	"context"
	"errors"
	"io"
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
	bodyTimeout   = 10 * time.Second
	maxRequests   = 64 // at a time, including streams

	// WriteTimeout is how long a write of a response may take.
	WriteTimeout = 10 * time.Second
)

// NewServer returns a server with limits for the time and number of requests and the number
// of connections. Problems with clients are logged at debug level. Its Shutdown ends the contexts of requests first, so that
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
// body and for each write of a response. A response may take any time.
func limited(next http.Handler) http.Handler {
	slots := make(chan struct{}, maxRequests)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		if r.ContentLength != 0 { // for a refusal as well: the server then reads the body
			_ = control.SetReadDeadline(time.Now().Add(bodyTimeout))
			r.Body = &body{r.Body, control}
		}
		timed := &writer{w, control}
		timed.extend() // for 100 Continue
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			next.ServeHTTP(timed, r)
		default:
			w.Header().Set("Retry-After", "1")
			http.Error(timed, "wstun: too many requests at a time", http.StatusServiceUnavailable)
		}
		timed.extend() // for the buffered end
	})
}

// body is the body of a request. A deadline for reading that passes after its end would end
// the context of the request, and those of all later requests of the connection.
type body struct {
	io.ReadCloser
	control *http.ResponseController
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// writer fails if a write takes longer than WriteTimeout.
type writer struct {
	http.ResponseWriter
	control *http.ResponseController
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *writer) Write(p []byte) (int, error) {
	w.extend()
	return w.ResponseWriter.Write(p)
}

func (w *writer) extend() { _ = w.control.SetWriteDeadline(time.Now().Add(WriteTimeout)) }

// debugLog logs the lines of an http.Server.
type debugLog struct{ logger *slog.Logger }

func (l debugLog) Write(p []byte) (int, error) {
	l.logger.Debug("admin", slog.String("err", string(p)))
	return len(p), nil
}

// StreamWriter writes parts of an endless response, each of which is sent at once.
type StreamWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

// NewStream begins an endless response of lines in JSON.
func NewStream(w http.ResponseWriter) *StreamWriter {
	w.Header().Set("Content-Type", "application/x-ndjson")
	return &StreamWriter{w, http.NewResponseController(w)}
}

func (s *StreamWriter) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if err == nil {
		err = s.control.Flush()
	}
	return n, err
}
