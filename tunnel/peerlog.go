package tunnel

import (
	"log/slog"
	"maps"
	"net"
	"regexp"
	"strings"
	"sync"
	"time"
)

const (
	// repeatPeriod is how long records like one that was logged are left out.
	repeatPeriod = 10 * time.Second

	// maxRepeats bounds the different records that a peerLog logs in a repeatPeriod:
	// with host and reason, and again with the reason alone.
	maxRepeats = 64
)

// peerLog logs problems that peers cause, perhaps many, at warn level: a record is
// left out if one with the same message, remote host and reason was logged in the last
// ten seconds. With many hosts, the same reason is enough, and with many reasons, which a
// peer may invent, the same message. The next record of the kind has the number of those
// left out.
type peerLog struct {
	logger *slog.Logger

	mu   sync.Mutex
	seen map[string]*repeat
}

// repeat is a record that was logged.
type repeat struct {
	logged  time.Time
	leftOut int // records like it since then
}

func newPeerLog(logger *slog.Logger) *peerLog {
	return &peerLog{logger: orDiscard(logger), seen: map[string]*repeat{}}
}

// warn logs a record, or leaves it out. remoteAddr may be empty.
func (l *peerLog) warn(msg, remoteAddr, reason string, attrs ...any) {
	host := hostOf(remoteAddr)
	ok, leftOut := l.allow(msg+"\n"+reason+"\n"+host, msg+"\n"+reason, msg)
	if !ok {
		return
	}
	if leftOut > 0 {
		attrs = append(attrs, slog.Int("left_out", leftOut))
	}
	l.logger.Warn(msg, attrs...) //nolint:sloglint // all callers pass constants
}

// allow reports whether to log a record, and how many like it were left out before. The
// keys describe the record, from the most specific to the most general.
func (l *peerLog) allow(keys ...string) (ok bool, leftOut int) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, key := range keys {
		r := l.seen[key]
		switch {
		case r != nil && now.Sub(r.logged) < repeatPeriod:
			r.leftOut++
			return false, 0
		case r != nil:
			leftOut = r.leftOut
		case i < len(keys)-1 && !l.hasRoom(now, (i+1)*maxRepeats):
			continue
		}
		l.seen[key] = &repeat{logged: now}
		return true, leftOut
	}
	return false, 0
}

// hasRoom reports whether fewer than limit records were logged in the last repeatPeriod,
// and forgets the others if necessary. The caller holds mu.
func (l *peerLog) hasRoom(now time.Time, limit int) bool {
	if len(l.seen) >= limit {
		maps.DeleteFunc(l.seen, func(_ string, r *repeat) bool { return now.Sub(r.logged) >= repeatPeriod })
	}
	return len(l.seen) < limit
}

// serverLog is the ErrorLog of an http.Server. It logs messages such as "http: TLS
// handshake error from 192.0.2.1:50000: EOF".
type serverLog struct{ log *peerLog }

var remoteAddrInMessage = regexp.MustCompile(` from (\S+:\d+): `)

func (w serverLog) Write(p []byte) (int, error) {
	text := strings.TrimSpace(string(p))
	if strings.HasSuffix(text, net.ErrClosed.Error()) {
		return len(p), nil // this side has closed the connection
	}
	var addr string
	if m := remoteAddrInMessage.FindStringSubmatch(text); m != nil {
		addr = m[1]
	}
	w.log.warn("http server", addr, strings.Replace(text, addr, "", 1), slog.String("message", text))
	return len(p), nil
}
