package tunnel

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"github.com/wstun/wstun/tunnel/wsmux"
)

// flow is a local connection and, once there is one, its stream.
type flow struct {
	local  net.Conn
	calls  *calls
	cancel context.CancelCauseFunc // ends the wait for a session

	mu       sync.Mutex
	onStream bool // there is a stream
	draining bool
}

// forwarded notes that there is a stream, and reports whether that isn't too late.
func (fl *flow) forwarded() bool {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.onStream = !fl.draining
	return fl.onStream
}

// drain ends the flow: without a stream it won't get one, with one it ends when
// no call is open.
func (fl *flow) drain() {
	fl.mu.Lock()
	fl.draining = true
	onStream := fl.onStream
	fl.mu.Unlock()
	if onStream {
		fl.calls.whenIdle(fl.sayFarewell)
		return
	}
	fl.cancel(errShuttingDown)
}

// sayFarewell ends the local connection as its server would: with a FIN, upon
// which the client closes its side, and with that the stream ends.
func (fl *flow) sayFarewell() {
	if cw, ok := fl.local.(closeWriter); ok {
		_ = cw.CloseWrite()
	}
	_ = fl.local.SetReadDeadline(time.Now().Add(farewellWait))
}

// cut ends the local connection at once, and so that its client takes notice.
func (fl *flow) cut() {
	fl.cancel(errShuttingDown)
	if tc, ok := fl.local.(*net.TCPConn); ok {
		_ = tc.SetLinger(0) // RST: what came is not all there was to come
	}
	_ = fl.local.Close()
}

type closeWriter interface{ CloseWrite() error }

// run copies both ways and returns when both have ended, and the error if they
// didn't end in order. It closes both connections.
func (fl *flow) run(stream *wsmux.Stream) error {
	var up, down error
	var wg sync.WaitGroup
	wg.Go(func() {
		if up = fl.copyToStream(stream); up != nil {
			_ = stream.Close()
		}
	})
	wg.Go(func() {
		if down = fl.copyToLocal(stream); down != nil {
			_ = stream.Close()
		}
	})
	wg.Wait()
	_ = stream.Close()
	_ = fl.local.Close()
	return errors.Join(up, down)
}

// copyToStream copies what the local client sends, and passes its end on. A
// call is noticed before it is sent: drain must not take the connection for
// idle while the call is on its way.
func (fl *flow) copyToStream(stream *wsmux.Stream) error {
	fromClient := newFrames(fl.calls, true)
	err := copyPieces(fl.local, func(p []byte) error {
		fromClient.follow(p)
		_, err := stream.Write(p)
		return err
	})
	if err != nil {
		return err
	}
	return stream.CloseWrite()
}

// copyToLocal copies what the peer sends, and passes its end on. The end of a
// call is noticed once the client has it.
func (fl *flow) copyToLocal(stream *wsmux.Stream) error {
	fromServer := newFrames(fl.calls, false)
	err := copyPieces(stream, func(p []byte) error {
		if _, err := fl.local.Write(p); err != nil {
			return err
		}
		fromServer.follow(p)
		return nil
	})
	switch {
	case err == nil:
	case fromServer.between() && fl.explain(err) == nil:
		return err
	default:
		fl.cut()
		return err
	}
	if cw, ok := fl.local.(closeWriter); ok {
		_ = cw.CloseWrite() // fails if the client has gone already
	}
	return nil
}

// explain tells an HTTP/2 client why its connection ends, in the debug data of
// a GOAWAY (RFC 9113 §6.8), which gRPC clients put into their errors.
func (fl *flow) explain(reason error) error {
	_ = fl.local.SetWriteDeadline(time.Now().Add(farewellWait))
	err := http2.NewFramer(fl.local, nil).WriteGoAway(math.MaxInt32, http2.ErrCodeNo, []byte("wstun: "+reason.Error()))
	if err == nil {
		fl.sayFarewell()
	}
	return err
}

// copyBuffers are for connections in the midst of a transfer.
var copyBuffers = sync.Pool{New: func() any { return new([copyBuffer]byte) }}

// copyPieces passes on what src has until it ends. It reads into a small buffer
// that lasts as long as the connection, and into ever larger ones while there
// is much to read and it is passed on quickly: on a slow link many large pieces
// are a long queue for everybody else.
func copyPieces(src io.Reader, pass func([]byte) error) error {
	small := make([]byte, smallBuffer)
	var large *[copyBuffer]byte
	defer func() {
		if large != nil {
			copyBuffers.Put(large)
		}
	}()
	buf := small
	for {
		n, err := src.Read(buf)
		quick := true
		if n > 0 {
			started := time.Now()
			if perr := pass(buf[:n]); perr != nil {
				return perr
			}
			quick = time.Since(started) < slowPiece
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case n == len(buf) && quick && n < copyBuffer:
			if large == nil {
				large = copyBuffers.Get().(*[copyBuffer]byte) //nolint:errcheck // nothing else is in there
			}
			buf = large[:2*n]
		case large != nil && (n < len(small) || !quick):
			copyBuffers.Put(large)
			large, buf = nil, small
		}
	}
}
