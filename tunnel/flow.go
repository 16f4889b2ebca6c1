package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
)

// flow is a connection of a gRPC client and, once there is one, the connection
// that carries it on to the server. One of the two is a stream.
type flow struct {
	near   net.Conn // the client's end
	calls  *calls
	cancel context.CancelCauseFunc // ends the wait for a session

	mu       sync.Mutex
	far      net.Conn // the server's end, once it is there
	draining bool

	lost atomic.Pointer[error] // why the client's direction broke, and the other connection was aborted

	wmu        sync.Mutex // held while writing to near
	fromServer *frames    // what has been written there
	leaving    bool       // a GOAWAY is to be written there
}

func newFlow(near net.Conn, cancel context.CancelCauseFunc) *flow {
	fl := &flow{near: near, calls: newCalls(), cancel: cancel}
	fl.fromServer = newFrames(fl.calls, false)
	return fl
}

// why is what ended the connection: err is only an echo of it if the client's
// direction broke first. An error of a stream that its session is the reason of
// says more than concerns the client.
func (fl *flow) why(err error) error {
	if s, ok := fl.carrier().(stream); ok && s.Session().Err() != nil {
		return fmt.Errorf("session ended: %w", s.Session().Err())
	}
	if first := fl.lost.Load(); first != nil {
		return *first
	}
	return err
}

// carry has far be the server's end, and reports whether it isn't too late for
// that.
func (fl *flow) carry(far net.Conn) bool {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if fl.draining {
		return false
	}
	fl.far = far
	return true
}

// carrier returns the server's end, or nil.
func (fl *flow) carrier() net.Conn {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	return fl.far
}

// drain ends the flow: alone it won't be carried any more, carried it ends when
// no call is open.
func (fl *flow) drain() {
	fl.mu.Lock()
	fl.draining = true
	carried := fl.far != nil
	fl.mu.Unlock()
	if carried {
		go fl.goAway() // which waits for a client that doesn't read
		// A call that the client has sent already is on its way meanwhile.
		time.AfterFunc(farewellGrace, func() { fl.calls.whenIdle(fl.beginFarewell) })
		return
	}
	fl.cancel(ErrShuttingDown)
}

// goAway has an HTTP/2 client begin no more calls on this connection. Those that
// it has begun go on.
func (fl *flow) goAway() {
	fl.wmu.Lock()
	defer fl.wmu.Unlock()
	fl.leaving = true
	fl.writeGoAway()
}

// writeGoAway writes the GOAWAY that is to be written, if another frame may come
// now. fl.wmu is held.
func (fl *flow) writeGoAway() {
	if fl.leaving && fl.fromServer.between() {
		fl.leaving = false
		_ = http2.NewFramer(fl.near, nil).WriteGoAway(math.MaxInt32, http2.ErrCodeNo, []byte("wstun: no more calls on this connection"))
	}
}

// beginFarewell doesn't wait: who forwards bytes may do so for a whole session,
// and the end of a stream for its link.
func (fl *flow) beginFarewell() { go fl.sayFarewell() }

// sayFarewell ends the client's connection as its server would: with a FIN, upon
// which the client closes its side, and with that the server does. Neither is
// waited for long.
func (fl *flow) sayFarewell() {
	closeWrite(fl.near)
	deadline := time.Now().Add(farewellWait)
	_ = fl.near.SetReadDeadline(deadline)
	_ = fl.carrier().SetReadDeadline(deadline)
}

// cut ends both connections at once, and so that the peers take notice.
func (fl *flow) cut() {
	fl.cancel(ErrShuttingDown)
	abort(fl.near)
	if far := fl.carrier(); far != nil {
		abort(far)
	}
}

// abort closes conn, with a reset if it can: what came is not all that there
// was to come.
func abort(conn net.Conn) {
	switch c := conn.(type) {
	case *net.TCPConn:
		_ = c.SetLinger(0)
	case stream:
		_ = c.Reset()
	}
	_ = conn.Close()
}

// closeWrite ends the writing direction. It fails if the peer has gone already,
// which is no news then.
func closeWrite(conn net.Conn) {
	if cw, ok := conn.(closeWriter); ok {
		_ = cw.CloseWrite()
	}
}

type closeWriter interface{ CloseWrite() error }

// run copies both ways and returns when both have ended, and the error if they
// didn't end in order. It closes both connections.
func (fl *flow) run() error {
	far := fl.carrier()
	var up, down error
	upEnded, downEnded := make(chan struct{}), make(chan struct{})
	fl.copy(far, func(err error) {
		up = fl.clientEnded(err, far, downEnded)
		close(upEnded)
	}, func(err error) {
		down = err
		fl.serverEnded(err, far)
		close(downEnded)
	})
	<-upEnded
	<-downEnded
	_ = far.Close()
	if up != nil {
		if down == nil { // else serverEnded has said farewell, or cut
			_ = fl.near.SetReadDeadline(time.Now().Add(farewellWait))
		}
		fl.dismiss()
	}
	_ = fl.near.Close()
	return errors.Join(up, down)
}

// dismiss gives a client that may still be sending, to nobody any more, time to
// read how the server's direction ended, and to close. One on a stream that doesn't
// would wait to be read for as long as the session lasts, and so is told.
func (fl *flow) dismiss() {
	_, err := io.Copy(io.Discard, fl.near)
	if s, ok := fl.near.(stream); ok && err != nil {
		_ = s.Reset()
	}
}

// errServerLeft is that the server ended its direction with calls open, as one does
// that is stopped.
var errServerLeft = errors.New("the server closed the connection")

// copy copies both ways and calls upEnded when the client's direction has ended, or
// broken, and downEnded for the server's. What comes on the stream is passed on, so
// that an idle connection needs but this one goroutine.
func (fl *flow) copy(far net.Conn, upEnded, downEnded func(error)) {
	toServer := &serverWriter{far: far, socket: newSocketWriter(far), fromClient: newFrames(fl.calls, true)}
	toClient := newClientWriter(fl)
	toClientEnded := func(err error) {
		switch {
		case err != nil:
		case fl.calls.anyOpen():
			err = errServerLeft
		default:
			err = toClient.flush()
		}
		downEnded(err)
	}
	if s, ok := far.(stream); ok {
		s.ForwardTo(toClient, toClientEnded)
		upEnded(copyPieces(toServer, newPieceReader(fl.near)))
		return
	}
	fl.near.(stream).ForwardTo(toServer, upEnded) //nolint:errcheck // one of the two is a stream
	toClientEnded(copyPieces(toClient, newPieceReader(far)))
}

// clientEnded passes on that the client's direction has ended, or broken with err.
// It returns why the connection broke.
func (fl *flow) clientEnded(err error, far net.Conn, serverEnded <-chan struct{}) error {
	if err == nil {
		closeWrite(far)
		err = fl.awaitServer(serverEnded)
	}
	if err != nil {
		fl.lost.CompareAndSwap(nil, &err)
		abort(far)
	}
	return err
}

// serverEnded passes on that the server's direction has ended, or broken with err.
func (fl *flow) serverEnded(err error, far net.Conn) {
	if err == nil {
		closeWrite(fl.near)
		return
	}
	if fl.explain(fl.why(err)) != nil {
		fl.cut()
	}
	abort(far)
}

// awaitServer waits for the server's direction to end once the client's has. If
// the client's end is a stream, nobody else would notice now that its session
// has ended.
func (fl *flow) awaitServer(ended <-chan struct{}) error {
	near, ok := fl.near.(stream)
	if !ok {
		return nil
	}
	select {
	case <-near.Session().Done():
		return near.Session().Err()
	case <-ended:
		return nil
	}
}
