package limit

import (
	"context"
	"reflect"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/peer"
)

// call is a call of a server, seen from its handler.
type call struct {
	conn      *conn
	stream    uint32
	transport grpc.ServerTransportStream
}

// newCall returns the call of a handler's context.
func newCall(ctx context.Context) *call {
	p, _ := peer.FromContext(ctx)
	transport := grpc.ServerTransportStreamFromContext(ctx)
	// grpc-go keeps the number of the stream for itself.
	id := reflect.Indirect(reflect.ValueOf(transport)).FieldByName("id").Uint()
	a, _ := p.Addr.(addr)
	return &call{a.conn, uint32(id), transport} //nolint:gosec // it is a uint32
}

// compresses reports whether responses will be compressed.
func (c *call) compresses() bool {
	t, ok := c.transport.(interface{ SendCompress() string })
	return ok && t.SendCompress() != "" && t.SendCompress() != encoding.Identity
}
