package proxy

import (
	"context"
	"net"
	"sync"

	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Observer is told of every call that passes through a [Proxy].
type Observer interface {
	// Call is called when a call comes in, before anything is passed on, from
	// the goroutine of the call. It returns what watches that call, or nil.
	Call(ctx context.Context, info *CallInfo) CallObserver
}

// CallInfo describes a call. It must not be changed.
type CallInfo struct {
	Method   string      // as in :path, /pkg.Service/Method
	Upstream string      // the Addr of where it goes; empty if no upstream has the service
	Peer     net.Addr    // who calls; nil if not known
	Header   metadata.MD // request headers as they came, :authority and user-agent among them
}

// CallObserver watches one call. Its methods are called one at a time and in
// the order in which things pass, and each delays the call for as long as it
// takes. What they are given must not be changed, and is valid only until they
// return, statuses aside.
//
// A panic in one of them ends the watching and not the call.
type CallObserver interface {
	// Header is called with the response headers. It is not called for a
	// response that has none but only trailers.
	Header(md metadata.MD)
	// Message is called with each message, without its gRPC prefix and
	// decompressed, before it is passed on.
	Message(d Direction, msg mem.BufferSlice)
	// HalfClose is called when the caller has sent its last message.
	HalfClose()
	// End is called once, as the last: when the upstream ends the call, or
	// when the caller gave it up, with codes.Canceled or DeadlineExceeded.
	End(st *status.Status, trailer metadata.MD)
}

// Direction is the way a message goes.
type Direction int

// The directions.
const (
	Request  Direction = iota // from the caller to the upstream
	Response                  // from the upstream to the caller
)

// String returns "request" or "response".
func (d Direction) String() string {
	if d == Request {
		return "request"
	}
	return "response"
}

// watcher calls a CallObserver on behalf of both directions of a call. A nil
// one does nothing.
type watcher struct {
	panicked func(any) // told of a panic in the observer

	mu sync.Mutex
	o  CallObserver // nil once the call has ended
}

// watch asks the observer about a call and returns nil if it takes no interest.
func watch(ctx context.Context, o Observer, info *CallInfo, panicked func(any)) (w *watcher) {
	defer func() {
		if v := recover(); v != nil {
			panicked(v)
			w = nil
		}
	}()
	co := o.Call(ctx, info)
	if co == nil {
		return nil
	}
	return &watcher{o: co, panicked: panicked}
}

// do calls f with the observer unless that has seen its last.
func (w *watcher) do(f func(CallObserver)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.o == nil {
		return
	}
	defer func() {
		if v := recover(); v != nil {
			w.o = nil
			w.panicked(v)
		}
	}()
	f(w.o)
}

func (w *watcher) header(md metadata.MD) {
	if w != nil {
		w.do(func(o CallObserver) { o.Header(md) })
	}
}

func (w *watcher) message(d Direction, f *frame) {
	if w != nil {
		w.do(func(o CallObserver) { o.Message(d, f.data) })
	}
}

func (w *watcher) halfClose() {
	if w != nil {
		w.do(CallObserver.HalfClose)
	}
}

func (w *watcher) end(err error, trailer metadata.MD) {
	if w != nil {
		w.do(func(o CallObserver) {
			o.End(status.Convert(err), trailer)
			w.o = nil
		})
	}
}
