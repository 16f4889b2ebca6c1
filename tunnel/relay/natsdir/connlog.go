package natsdir

import (
	"log/slog"
	"sync"
	"time"
)

// logInterval is the least time between two warnings with the same text.
const logInterval = 30 * time.Second

// connLog logs the state of the connection with NATS. nats.go calls it at each attempt to
// connect.
type connLog struct {
	logger *slog.Logger

	mu   sync.Mutex
	last map[string]time.Time // when a warning was logged; empty after a success
}

func newConnLog(logger *slog.Logger) *connLog {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &connLog{logger: logger, last: map[string]time.Time{}}
}

func (l *connLog) connected(server string) {
	l.mu.Lock()
	clear(l.last)
	l.mu.Unlock()
	l.logger.Info("directory connected", slog.String("server", server))
}

func (l *connLog) failed(err error) {
	if err == nil { // Close
		return
	}
	const maxTexts = 16
	text := err.Error()
	l.mu.Lock()
	isNew := time.Since(l.last[text]) > logInterval && len(l.last) < maxTexts
	if isNew {
		l.last[text] = time.Now()
	}
	l.mu.Unlock()
	if isNew {
		l.logger.Warn("directory fails: the workers of other relays aren't found", slog.Any("err", err))
	}
}
