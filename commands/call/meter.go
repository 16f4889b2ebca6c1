package call

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"
)

// Wire has the sizes of a call in its HTTP/2 stream, in bytes: headers compressed by
// HPACK, compressed messages with their five-byte prefix. All are 0 on a connection
// created without DialOptions.
type Wire struct {
	SentMessages, ReceivedMessages int
	Headers, Trailers              int // received
}

// DialOptions returns the options for the connection of a Target to measure its calls.
func DialOptions() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithStatsHandler(statsHandler{})}
}

// meter measures one call.
type meter struct {
	mu   sync.Mutex
	wire Wire
	last int // size of the last message received
}

// Measure returns a context for a call, and a function that returns its sizes so far.
func Measure(ctx context.Context) (context.Context, func() Wire) {
	m := &meter{}
	return m.attach(ctx), m.total
}

type meterKey struct{}

// attach returns the context of the call to measure.
func (m *meter) attach(ctx context.Context) context.Context {
	return context.WithValue(ctx, meterKey{}, m)
}

func (m *meter) lastMessage() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}

func (m *meter) total() Wire {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wire
}

// statsHandler passes statistics to the meter of each call.
type statsHandler struct{}

func (statsHandler) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

func (statsHandler) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (statsHandler) HandleConn(context.Context, stats.ConnStats)                       {}

func (statsHandler) HandleRPC(ctx context.Context, s stats.RPCStats) {
	m, ok := ctx.Value(meterKey{}).(*meter)
	if !ok {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch s := s.(type) {
	case *stats.OutPayload:
		m.wire.SentMessages += s.WireLength
	case *stats.InPayload:
		m.wire.ReceivedMessages += s.WireLength
		m.last = s.WireLength
	case *stats.InHeader:
		m.wire.Headers += s.WireLength
	case *stats.InTrailer:
		m.wire.Trailers += s.WireLength
	}
}
