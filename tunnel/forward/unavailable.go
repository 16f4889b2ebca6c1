package forward

import (
	"bytes"
	"context"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/tunnel/h2"
	"github.com/wstun/wstun/tunnel/trace"
)

// unavailableWait bounds how long a connection that can't be forwarded waits for its
// first call, and then for the client to close it.
const unavailableWait = 5 * time.Second

// answerUnavailable fails the first call of the client, and those that arrive at the same
// time, with UNAVAILABLE and the reason. Then it closes the connection, so that the
// client connects again. If there is no call, it closes the connection soon after ctx
// ends or up is closed, because the next connection may be forwarded. It closes a
// connection that doesn't carry HTTP/2 at once. It blocks until the connection is closed.
func (fl *flow) answerUnavailable(ctx context.Context, reason error, up <-chan struct{}) {
	w := &refusingWriter{fl: fl, called: make(chan struct{}), trace: fl.trace.Local(fl.since)}
	ended := make(chan struct{})
	if run := fl.client.forward(w, func(error) { close(ended) }); run != nil {
		go run()
	}
	defer func() {
		_ = fl.client.Close()
		<-ended
		w.trace.Close()
	}()

	timer := time.NewTimer(unavailableWait)
	defer timer.Stop()
	select {
	case <-w.called:
	case <-ended:
		return
	case <-timer.C:
	case <-up:
		w.awaitCall()
	case <-ctx.Done():
		w.awaitCall()
	}
	if fl.refuse(reason, w.trace) != nil {
		return
	}
	_ = fl.client.CloseWrite()
	timer.Reset(unavailableWait)
	select {
	case <-ended:
	case <-timer.C:
	}
}

// refuse ends the open calls with UNAVAILABLE. A GOAWAY precedes the answers: the client
// begins its next call on a new connection, and repeats there a call that it has sent in
// the meantime.
func (fl *flow) refuse(reason error, local *trace.Local) error {
	fl.wmu.Lock()
	defer fl.wmu.Unlock()
	if !fl.calls.responses.AtBoundary() {
		return h2.ErrNotHTTP2 // the client has sent no preface
	}
	text := fl.explanation(reason)
	open, last := fl.calls.close(codes.Unavailable)
	local.Refuse(text)
	var out bytes.Buffer
	framer := http2.NewFramer(&out, nil) // a bytes.Buffer returns no errors
	_ = framer.WriteGoAway(last, http2.ErrCodeNo, []byte(text))
	for _, stream := range open {
		_ = framer.WriteHeaders(http2.HeadersFrameParam{
			StreamID: stream, BlockFragment: unavailable(text, false), EndHeaders: true, EndStream: true,
		})
	}
	_ = fl.client.SetWriteDeadline(time.Now().Add(closeWait))
	_, err := fl.client.Write(out.Bytes())
	return err
}

// refusingWriter receives the bytes of a client whose connection isn't forwarded. It
// completes the HTTP/2 preface, so that the client makes its call.
type refusingWriter struct {
	fl     *flow
	greet  sync.Once
	call   sync.Once
	called chan struct{} // closed when a call is open
	trace  *trace.Local
}

func (w *refusingWriter) Write(p []byte) (int, error) {
	calls := w.fl.calls
	w.trace.Received(p)
	calls.scan(&calls.requests, p)
	if err := calls.requests.Err(); err != nil {
		return 0, err
	}
	var err error
	if calls.requests.PrefaceDone() {
		w.greet.Do(func() { err = w.fl.writePreface() })
	}
	if calls.anyOpen() {
		w.call.Do(func() { close(w.called) })
	}
	return len(p), err
}

// TryWrite writes nothing, because Write may block.
func (w *refusingWriter) TryWrite([]byte) (int, error) { return 0, nil }

// awaitCall waits for a call that the client has already sent.
func (w *refusingWriter) awaitCall() {
	timer := time.NewTimer(lastCallWait)
	defer timer.Stop()
	select {
	case <-w.called:
	case <-timer.C:
	}
}

// writePreface sends a server's preface and acknowledges the client's SETTINGS (RFC 9113
// §3.4).
func (fl *flow) writePreface() error {
	fl.wmu.Lock()
	defer fl.wmu.Unlock()
	var out bytes.Buffer
	framer := http2.NewFramer(&out, nil)
	_ = framer.WriteSettings()
	_ = framer.WriteSettingsAck()
	_, err := fl.client.Write(out.Bytes())
	fl.calls.scan(&fl.calls.responses, out.Bytes())
	return err
}
