// Package wsmux stacks gRPC on a WebSocket: WebSocket ▸ yamux ▸ HTTP/2 ▸ gRPC.
//
// One side dials a WebSocket and the other accepts it; either may serve gRPC. The
// gRPC server is the yamux server, and the gRPC client the yamux client:
//
//	srv, session, err := wsmux.ServeGRPC(ws, func(s *grpc.Server) {
//		hubpb.RegisterHubServer(s, hub)
//	})
//	<-session.CloseChan()
//
//	cc, session, err := wsmux.DialGRPC(ws)
//	key, err := hubpb.NewHubClient(cc).CreateKey(ctx, req)
//
// [WrapConn] provides the lowest layer only, and [NewSession] the two lowest: a yamux
// session for any protocol. NewSession uses package mux. [ServeGRPC] and [DialGRPC]
// use hashicorp/yamux, because they return its *yamux.Session.
//
// Lifetimes: every function takes ownership of the *websocket.Conn, even if it
// returns an error. Closing its result closes the WebSocket, and the end of the
// WebSocket ends everything on it. All goroutines and the socket are gone two seconds
// later.
//
// Concurrency: all methods may be called from any goroutine. After [WrapConn],
// [ServeGRPC] and [DialGRPC], the caller may still send control frames with
// [websocket.Conn.WriteControl], and set handlers and deadlines, but must not
// otherwise read or write the *websocket.Conn. After [NewSession], which is faster,
// the caller must not use it at all.
//
// Buffers: set WriteBufferSize of the websocket.Dialer and the websocket.Upgrader to
// [BufferSize]. With the default of 4 KiB, a write of 32 KiB takes nine system calls.
// NewSession doesn't use that buffer.
//
// spec.md beside this file describes the wire protocol.
package wsmux

// MaxMsgSize is the largest gRPC message that [ServeGRPC] and [DialGRPC] send
// or receive, in bytes: 64 MiB. A larger one fails with ResourceExhausted.
const MaxMsgSize = 64 * 1024 * 1024

// MaxMetadata is how much metadata the request, the header of a response and its trailer
// may each have, in bytes: 1 MiB, with 32 bytes for each value besides its own (RFC 9113
// §6.5.2). More fails with Internal or Unavailable. grpc-go's default is 16 MiB, which a peer can make of
// half a MiB on the wire.
const MaxMetadata = 1024 * 1024

// BufferSize is the ReadBufferSize and WriteBufferSize, in bytes, for the
// websocket.Dialer or websocket.Upgrader: a message of 64 KiB then takes one system
// call.
const BufferSize = 64*1024 + 64
