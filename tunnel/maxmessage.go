package tunnel

import (
	"errors"
	"log/slog"
	"net"
	"sync"

	"github.com/gorilla/websocket"
)

const (
	// limitedMessage is the limit for a peer that has refused a message without a limit.
	// It is the limit of coder/websocket. leastMessage is the lowest limit.
	limitedMessage = 32 * 1024
	leastMessage   = 1024

	// maxLimitedHosts is how many hosts a messageLimits remembers.
	maxLimitedHosts = 1024
)

// nextMaxMessage returns MaxMessage for the next session with the peer whose session with
// o has ended with err: if the peer refused a message as too big (RFC 6455 §7.4.1), 32 KiB
// or half of the limit so far, whichever is less, and at least 1 KiB. It logs a change.
func (o *SessionOptions) nextMaxMessage(err error) int {
	ce, ok := errors.AsType[*websocket.CloseError](err)
	if !ok || ce.Code != websocket.CloseMessageTooBig || o.MaxMessage > 0 && o.MaxMessage <= leastMessage {
		return o.MaxMessage
	}
	next := limitedMessage
	if o.MaxMessage > 0 {
		next = max(min(o.MaxMessage/2, next), leastMessage)
	}
	orDiscard(o.Logger).Warn("the peer refuses WebSocket messages of this size: the next session sends smaller ones", slog.Int("max_ws_message", next))
	return next
}

// messageLimits are the limits for WebSocket messages of an accepting side's peers. The
// zero value is ready to use.
type messageLimits struct {
	mu     sync.Mutex
	byHost map[string]int // the lowered MaxMessage
}

// apply sets o.MaxMessage for a session with the peer at addr.
func (l *messageLimits) apply(o *SessionOptions, addr string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if limit, ok := l.byHost[hostOf(addr)]; ok {
		o.MaxMessage = limit
	}
}

// ended adapts the limit for the peer at addr, whose session with o has ended with err.
func (l *messageLimits) ended(o *SessionOptions, addr string, err error) {
	next := o.nextMaxMessage(err)
	if next == o.MaxMessage {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byHost == nil || len(l.byHost) >= maxLimitedHosts {
		l.byHost = map[string]int{} // a peer that is forgotten is asked again
	}
	l.byHost[hostOf(addr)] = next
}

// hostOf returns the host of an address with a port, and any other address unchanged.
func hostOf(addr string) string {
	if host, _, err := net.SplitHostPort(addr); err == nil {
		return host
	}
	return addr
}
