package limit

import (
	"context"
	"reflect"
	"sync"

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
	a, _ := p.Addr.(addr)
	id := reflect.ValueOf(transport).Elem().FieldByIndex(idField(transport)).Uint()
	return &call{a.conn, uint32(id), transport} //nolint:gosec // it is a uint32
}

var (
	idOnce  sync.Once
	idIndex []int
)

// idField returns the index of the field with the number of the stream, which grpc-go
// keeps for itself.
func idField(transport grpc.ServerTransportStream) []int {
	idOnce.Do(func() {
		field, _ := reflect.TypeOf(transport).Elem().FieldByName("id")
		idIndex = field.Index
	})
	return idIndex
}

// compresses reports whether responses will be compressed.
func (c *call) compresses() bool {
	t, ok := c.transport.(interface{ SendCompress() string })
	return ok && t.SendCompress() != "" && t.SendCompress() != encoding.Identity
}
