package tunnel

import (
	"fmt"
	"log/slog"
	"net/http"
)

// RefusalError is an HTTP answer that refuses a request.
type RefusalError struct {
	Code   int         // 4xx or 5xx
	Header http.Header // is added to the answer's; may be nil
	Err    error       // its text is the body
}

func (e *RefusalError) Error() string { return e.Err.Error() }
func (e *RefusalError) Unwrap() error { return e.Err }

// refuse returns a RefusalError.
func refuse(code int, format string, args ...any) *RefusalError {
	return &RefusalError{Code: code, Err: fmt.Errorf(format, args...)}
}

// attrs returns the attributes with which the refusal of r is logged.
func (e *RefusalError) attrs(r *http.Request) []any {
	return []any{slog.String("remote_addr", r.RemoteAddr), slog.Int("code", e.Code), slog.Any("err", e.Err)}
}

// answer sends e, with its text as one line of plain text. For a WebSocket
// client it adds the headers that RFC 6455 §4.4 and RFC 9110 §15.5.22 demand.
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
