// Package wsmux stacks gRPC on a WebSocket: WebSocket ▸ yamux ▸ HTTP/2 ▸ gRPC.
//
// One side dials a WebSocket, the other accepts it; which of the two serves
// gRPC is independent of that. The gRPC server is the yamux server, the gRPC
// client the yamux client:
//
//	srv, session, err := wsmux.ServeGRPC(ws, func(s *grpc.Server) {
//		hubpb.RegisterHubServer(s, hub)
//	})
//	<-session.CloseChan()
//
//	cc, session, err := wsmux.DialGRPC(ws)
//	key, err := hubpb.NewHubClient(cc).CreateKey(ctx, req)
//
// [WrapConn] is the lowest layer alone, [NewSession] the two lowest: a yamux
// session that can carry anything. Its sessions run on package mux, those of
// [ServeGRPC] and [DialGRPC] on hashicorp/yamux, whose session these return.
//
// Lifetimes: every function here takes ownership of the *websocket.Conn, also
// when it returns an error. Closing what it returns closes the WebSocket, and
// when the WebSocket ends, everything on it does. Nothing is left running
// afterwards; the last goroutine and the socket go within two seconds.
//
// Concurrency: all methods may be called from any goroutine. With [WrapConn],
// [ServeGRPC] and [DialGRPC] the caller keeps the right to send control messages
// with [websocket.Conn.WriteControl] and to set handlers and deadlines, and must
// leave all other reading and writing to this package. [NewSession] leaves no such
// right, and is faster.
//
// Buffers: give the websocket.Dialer and the websocket.Upgrader a
// WriteBufferSize of [BufferSize]. The default of 4 KiB cuts each 32 KiB
// write into nine system calls. NewSession doesn't use it.
//
// What goes over the wire is written down in spec.md beside this file.
package wsmux

// MaxMsgSize is the largest gRPC message that [ServeGRPC] and [DialGRPC] send
// or receive, in bytes: 64 MiB. A larger one fails with ResourceExhausted.
const MaxMsgSize = 64 * 1024 * 1024

// BufferSize is the read and write buffer size, in bytes, to give to the
// websocket.Dialer or websocket.Upgrader that makes the connection: one
// message of 64 KiB then leaves in one system call.
const BufferSize = 64*1024 + 64
