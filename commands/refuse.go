package commands

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
)

var errBothClients = errors.New("both ends of the session are gRPC clients: one of them should be wstun serve")

// newRefusal returns the backend of an end that serves nothing: it answers a
// peer that calls all the same, instead of leaving it to wait.
func newRefusal(out *output) *rawBackend {
	var once sync.Once
	return newRawBackend(out, func(context.Context) (net.Conn, error) {
		once.Do(func() { out.logger.Warn("the peer calls", slog.Any("err", errBothClients)) })
		return nil, errBothClients
	})
}
