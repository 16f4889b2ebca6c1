package forward

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/wstun/wstun/tunnel/h2"
	"github.com/wstun/wstun/tunnel/rpc"
	"github.com/wstun/wstun/tunnel/tunneltest"
)

// headersFrame returns a HEADERS frame.
func headersFrame(flags http2.Flags, stream uint32, block string) []byte {
	return append(rawFrame(http2.FrameHeaders, flags, stream, len(block))[:h2.HeaderLen], block...)
}

// encodeBlock returns a header block with one field, which isn't indexed.
func encodeBlock(name, value string) string {
	var b strings.Builder
	_ = hpack.NewEncoder(&b).WriteField(hpack.HeaderField{Name: name, Value: value, Sensitive: true})
	return b.String()
}

func TestCallsList(t *testing.T) {
	t.Parallel()
	c := newHTTP2Calls()
	path := func(path string) string { return encodeBlock(":path", path) }
	before := time.Now()
	c.scan(&c.requests, headersFrame(endHeaders, 1, path("/a.B/Unary?secret=x")))
	c.scan(&c.requests, []byte(dataFrame(0, "\x00\x00\x00\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09part")))
	c.scan(&c.responses, []byte(dataFrame(0, "\x00\x00\x00\x00\x01a")))
	c.scan(&c.requests, headersFrame(endHeaders, 3, encodeBlock("no", "path")))
	c.scan(&c.requests, headersFrame(0, 5, path("/incomplete")))

	calls := c.list(nil, rpc.Call{Session: 4, Stream: 9, Peer: "p"})
	slices.SortFunc(calls, func(a, b rpc.Call) int { return strings.Compare(b.Method, a.Method) })
	if len(calls) != 3 {
		t.Fatalf("%d calls, want 3", len(calls))
	}
	for i, want := range []rpc.Call{{Method: "?"}, {Method: "?"}, {Method: "/a.B/Unary", Sent: 2, Received: 1}} {
		got := calls[i]
		if got.Begun.Before(before.Truncate(0)) || got.Last.IsZero() != (want.Sent == 0) || got.Last.Before(got.Begun) && want.Sent > 0 {
			t.Errorf("%s has begun at %v, its last message was at %v", got.Method, got.Begun, got.Last)
		}
		want.Session, want.Stream, want.Peer, want.Begun, want.Last = 4, 9, "p", got.Begun, got.Last
		if got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

// An ended call is reused without a trace of it.
func TestCallsReuse(t *testing.T) {
	t.Parallel()
	c := newHTTP2Calls()
	c.scan(&c.requests, headersFrame(endHeaders, 1, encodeBlock(":path", "/first")))
	c.scan(&c.requests, []byte(dataFrame(0, "\x00\x00\x00\x00\x01a\x00\x00")))
	c.scan(&c.responses, []byte(dataFrame(0, "\x00\x00\x00\x00\x01a\x00\x00")))
	first := c.open[1]
	c.scan(&c.responses, headersFrame(endHeaders|endStream, 1, encodeBlock("grpc-status", "0")))
	c.scan(&c.requests, []byte(dataFrame(0, "\x00\x00\x00"))) // too late
	c.scan(&c.requests, headersFrame(endHeaders, 3, encodeBlock("no", "path")))
	if c.open[3] != first {
		t.Fatal("the call isn't reused")
	}
	got := c.list(nil, rpc.Call{})[0]
	if want := (rpc.Call{Method: "?", Begun: got.Begun}); got != want || first.answered || !first.responses.AtBoundary() || !first.requests.AtBoundary() {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestCallsEnded(t *testing.T) {
	t.Parallel()
	c := newHTTP2Calls()
	next, want := uint32(1), map[codes.Code]uint64{}
	end := func(code codes.Code, end func(stream uint32)) {
		t.Helper()
		c.scan(&c.requests, headersFrame(endHeaders, next, ""))
		end(next)
		next += 2
		if want[code]++; !maps.Equal(c.ended.Load(), want) {
			t.Errorf("%v, want %v", c.ended.Load(), want)
		}
	}
	for value, code := range map[string]codes.Code{"0": codes.OK, "5": codes.NotFound, "17": rpc.Other, "-1": rpc.NoStatus, "": rpc.NoStatus} {
		end(code, func(stream uint32) {
			c.scan(&c.responses, headersFrame(endHeaders, stream, ""))
			c.scan(&c.responses, headersFrame(endHeaders|endStream, stream, encodeBlock("grpc-status", value)))
		})
	}
	end(rpc.NoStatus, func(stream uint32) { c.scan(&c.requests, rawFrame(http2.FrameRSTStream, 0, stream, 4)) })
	end(rpc.NoStatus, func(stream uint32) { c.scan(&c.responses, rawFrame(http2.FrameRSTStream, 0, stream, 4)) })
	end(rpc.NoStatus, func(stream uint32) { c.scan(&c.responses, rawFrame(http2.FrameData, endStream, stream, 0)) })
	end(codes.OK, func(stream uint32) { // once
		c.scan(&c.responses, headersFrame(endHeaders|endStream, stream, encodeBlock("grpc-status", "0")))
		c.scan(&c.requests, rawFrame(http2.FrameRSTStream, 0, stream, 4))
	})
	end(rpc.NoStatus, func(stream uint32) { // undecodable from now on
		c.scan(&c.responses, headersFrame(endHeaders|endStream, stream, "\xff\x7f"))
	})
	end(rpc.NoStatus, func(stream uint32) {
		c.scan(&c.responses, headersFrame(endHeaders|endStream, stream, encodeBlock("grpc-status", "0")))
	})
	end(codes.Unavailable, func(uint32) { c.close(codes.Unavailable) })
}

// openCall opens a call of /test.Echo/Echo, and exchanges a message.
func openCall(ctx context.Context, t *testing.T, cc *grpc.ClientConn) grpc.ClientStream {
	t.Helper()
	call, err := cc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Echo/Echo")
	if err != nil {
		t.Fatal(err)
	}
	message := wrapperspb.String("hello")
	if err := errors.Join(call.SendMsg(message), call.RecvMsg(message)); err != nil {
		t.Fatal(err)
	}
	return call
}

// The calls of both kinds of Forwarder have the numbers of their sessions and streams.
func TestForwarderCalls(t *testing.T) {
	t.Parallel()
	upstream := tunneltest.Listen(t)
	tunneltest.EchoServer(t, upstream, nil)
	atServer, server := callUpstream(t, upstream)
	addr, client := forwardCalls(t, nil)
	for name, tt := range map[string]struct {
		cc   *grpc.ClientConn
		f    *Forwarder
		want rpc.Call
	}{
		"from streams": {atServer, server, rpc.Call{Session: 7, Stream: 1}},
		"to streams":   {tunneltest.Caller(t, addr), client, rpc.Call{Session: 1, Stream: 1, Peer: "127.0.0.1:"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(tunneltest.Soon(t))
			defer cancel()
			call := openCall(ctx, t, tt.cc)
			openCall(ctx, t, tt.cc)
			tunneltest.Eventually(t, "two calls with a response", func() bool {
				calls := tt.f.Calls()
				return len(calls) == 2 && calls[0].Received+calls[1].Received == 2
			})
			for _, got := range tt.f.Calls() {
				want := tt.want
				want.Method, want.Begun, want.Last, want.Sent, want.Received = "/test.Echo/Echo", got.Begun, got.Last, 1, 1
				if strings.HasPrefix(got.Peer, want.Peer) {
					want.Peer = got.Peer
				}
				if got != want {
					t.Errorf("%+v, want %+v", got, want)
				}
			}
			_ = call.CloseSend()
			tunneltest.Eventually(t, "a call has ended with OK", func() bool {
				return len(tt.f.Calls()) == 1 && maps.Equal(tt.f.Ended().Load(), map[codes.Code]uint64{codes.OK: 1})
			})
			cancel()
			tunneltest.Eventually(t, "a call is cancelled", func() bool {
				return len(tt.f.Calls()) == 0 && maps.Equal(tt.f.Ended().Load(), map[codes.Code]uint64{codes.OK: 1, rpc.NoStatus: 1})
			})
		})
	}
}

// Calls that the Forwarder ends have the status that it sends.
func TestForwarderEndsCalls(t *testing.T) {
	t.Parallel()
	f := &Forwarder{Sessions: newSessions(t), Wait: -1}
	addr := forward(t, f)
	if err := tunneltest.Call(tunneltest.Soon(t), tunneltest.Caller(t, addr), "hello"); err == nil {
		t.Error("a call without a session passes")
	}
	tunneltest.Eventually(t, "a refused call is counted", func() bool { return f.Ended().Load()[codes.Unavailable] == 1 })
	serveCalls(t, f.Sessions, nil)
	cc := tunneltest.Caller(t, addr)
	openCall(tunneltest.Soon(t), t, cc)
	f.Sessions.Snapshot()[0].CloseWithError(errors.New("lost")) // the peer would perhaps end its streams before
	tunneltest.Eventually(t, "the call of a lost session is counted", func() bool { return f.Ended().Load()[codes.Unavailable] == 2 })
	serveCalls(t, f.Sessions, nil)
	cc = tunneltest.Caller(t, addr)
	openCall(tunneltest.Soon(t), t, cc)
	_ = cc.Close()
	tunneltest.Eventually(t, "the call of a lost client is counted", func() bool {
		ended := f.Ended().Load() // the server may have ended the call before its end was counted
		return len(f.Calls()) == 0 && ended[codes.Unavailable]+ended[rpc.NoStatus] == 3
	})
}
