package trace

import (
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/tunnel/rpc"
)

// Type is the type of an Event.
type Type uint8

// The types of events. In a call, ClientHeader is the first, and ServerTrailer, Cancel or
// Cut the last. The others have no call.
const (
	ClientHeader    Type = iota + 1 // a call begins
	ServerHeader                    // the response begins
	ClientMessage                   // a request message is complete
	ServerMessage                   // a response message is complete
	ClientHalfClose                 // the client has sent its last message
	ServerTrailer                   // the server has ended the call
	Cancel                          // one side has reset the call
	Cut                             // the stream has ended, and with it the call

	GoAway // one side accepts no more calls on this connection
	Other  // the stream carries something else than HTTP/2, or malformed HTTP/2
	Lost   // events are missing
)

// String returns the name of the type: that of gRPC's binary log in lower case, where
// there is one.
func (t Type) String() string {
	return [...]string{
		ClientHeader: "client_header", ServerHeader: "server_header", ClientMessage: "client_message", ServerMessage: "server_message",
		ClientHalfClose: "client_half_close", ServerTrailer: "server_trailer", Cancel: "cancel", Cut: "cut",
		GoAway: "goaway", Other: "other", Lost: "lost",
	}[t]
}

// Side is one side of a call, or wstun between them.
type Side uint8

// The sides.
const (
	Client Side = iota
	Server
	Wstun
)

// String returns "client", "server" or "wstun".
func (s Side) String() string { return [...]string{"client", "server", "wstun"}[s] }

// Encrypted is the Message of Other for a stream that begins with TLS. Its calls can be traced
// only at its ends.
const Encrypted = "encrypted (TLS)"

// NoStatus is the Code of an end without a gRPC status.
const NoStatus = rpc.NoStatus

// Event is an event of a call, or of a connection. Fields that don't belong to its Type
// are zero.
type Event struct {
	Type    Type
	Side    Side      // that caused it
	Time    time.Time // when the bytes passed
	Session uint64    // the number of the session; 0: none
	Stream  uint32    // the number of the yamux stream; 0: none
	Call    uint64    // numbers the calls of the Tracer, from 1; 0: no call
	Seq     uint32    // numbers the events of the call, from 1, including lost ones

	// Of each event of a call. Method is the path, "/pkg.Service/Method", up to 512
	// bytes; "?" if it couldn't be decoded, or there was no memory for it. IsGRPC is
	// false if the content type isn't application/grpc: then there are no messages. Nor
	// are there in a response with another content type, such as a proxy's error page.
	Method string
	IsGRPC bool

	Authority string        // of ClientHeader, up to 512 bytes
	Timeout   time.Duration // of ClientHeader and of the end; 0: the call has no deadline

	// Of ClientHeader, ServerHeader and ServerTrailer: without pseudo-header fields,
	// and up to 64 KiB. Secret values are replaced.
	Metadata []hpack.HeaderField
	Omitted  bool // there is more metadata

	// Of ClientMessage and ServerMessage. Size is the length in bytes as sent, that of
	// Data may be less: see Output.Body. Encoding is the compression of Data, such
	// as "gzip"; "": none; "unknown": the header list doesn't say, or couldn't be decoded.
	Size     int64
	Data     []byte
	Encoding string

	// Whole says that Data is the whole message and isn't compressed, whatever Size and
	// Encoding are. A Tracer never sets it, but readers of recordings do.
	Whole bool

	// Of all events of a call: its messages so far, sent and received by the client. Of
	// Other, at the end of the stream: the bytes that this end has sent and received.
	Sent, Received Count

	// Of the end of a call. Code is NoStatus unless Type is ServerTrailer.
	// HTTPStatus and ContentType are those of a response without a gRPC status, up to
	// 3 and 100 bytes.
	Duration    time.Duration
	Code        codes.Code
	HTTPStatus  string
	ContentType string

	// Of Cancel and GoAway.
	HTTP2Code http2.ErrCode

	// The status message of ServerTrailer, up to 64 KiB; the reason of Cut; the debug
	// data of GoAway, up to 1 KiB; and the protocol of Other. It is the peer's text,
	// without the escapes of grpc-message, and may have control characters.
	Message string

	// Of Lost, since the last one.
	Lost Losses
}

// Losses counts the parts of a trace for which a queue or the memory of the Tracer had no room.
type Losses struct {
	Events uint64 // of calls of which other events weren't lost
	Calls  uint64
	Bytes  int64  // of the bodies of messages
	Conns  uint64 // connections
}

// Add adds more to l.
func (l *Losses) Add(more Losses) {
	l.Events += more.Events
	l.Calls += more.Calls
	l.Bytes += more.Bytes
	l.Conns += more.Conns
}

// Count counts messages.
type Count struct {
	Messages uint64
	Bytes    int64 // of the messages as sent
}

// IsEnd reports whether e is the last event of a call.
func (e *Event) IsEnd() bool { return e.Type == ServerTrailer || e.Type == Cancel || e.Type == Cut }

// Truncated reports whether e is of a message and Data isn't all of it.
func (e *Event) Truncated() bool { return !e.Whole && int64(len(e.Data)) < e.Size }

// IsInfrastructure reports whether the path of a method, "/pkg.Service/Method", belongs to a
// service of gRPC itself, which tools such as grpcurl call besides every call of theirs.
func IsInfrastructure(method string) bool {
	return slices.ContainsFunc([]string{"/grpc.reflection.", "/grpc.health.", "/grpc.channelz."},
		func(service string) bool { return strings.HasPrefix(method, service) })
}
