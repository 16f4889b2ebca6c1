package tunnel

import (
	"fmt"
	"log/slog"
	"net/http"
)

// RefusalError is an HTTP response that refuses a request.
type RefusalError struct {
	Code   int         // the status code, 4xx or 5xx
	Header http.Header // additional headers; may be nil
	Err    error       // its text is the body
}

func (e *RefusalError) Error() string { return e.Err.Error() }
func (e *RefusalError) Unwrap() error { return e.Err }

// refuse returns a RefusalError without headers.
func refuse(code int, format string, args ...any) *RefusalError {
	return &RefusalError{Code: code, Err: fmt.Errorf(format, args...)}
}

// attrs returns the log attributes of the refusal of r.
func (e *RefusalError) attrs(r *http.Request) []any {
	return []any{slog.String("remote_addr", r.RemoteAddr), slog.Int("code", e.Code), slog.Any("err", e.Err)}
}

// answer writes the response: one line of text/plain. It adds the headers for WebSocket
// clients that RFC 6455 §4.4 and RFC 9110 §15.5.22 require.
func (e *RefusalError) answer(w http.ResponseWriter) {
	h := w.Header()
	for name, values := range e.Header {
		h[http.CanonicalHeaderKey(name)] = values
	}
	if e.Code == http.StatusUpgradeRequired || e.Code == http.StatusBadRequest {
		h.Set("Connection", "Upgrade")
		h.Set("Upgrade", "websocket")
		h.Set("Sec-WebSocket-Version", "13")
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(e.Code)
	_, _ = fmt.Fprintf(w, "wstun: %v\n", e.Err)
}
