package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	"github.com/wstun/wstun/tunnel"
)

const (
	// drainGrace is the time in which a call arrives that the client sent before it
	// received the GOAWAY.
	drainGrace = 250 * time.Millisecond

	// closeWait bounds how long the client of a drained connection may take to close
	// its side, and how long Shutdown waits for the connections that it has cut.
	closeWait = time.Second
)

// errServerClosed means that the server closed the connection while calls were open,
// as a server does that is stopped.
var errServerClosed = errors.New("the server closed the connection")

// flow is the connection of a gRPC client and, once there is one, the connection to
// the server.
type flow struct {
	client end
	calls  *calls
	cancel context.CancelCauseFunc // ends the wait for a session

	mu       sync.Mutex
	server   end // nil until it is connected
	draining bool

	lost atomic.Pointer[error] // why the client's direction broke; the server's end was aborted then

	wmu       sync.Mutex // held while writing to client
	goingAway bool       // a GOAWAY is to be written to client
}

func newFlow(client end, cancel context.CancelCauseFunc) *flow {
	return &flow{client: client, calls: newCalls(), cancel: cancel}
}

// setServer sets the connection to the server. It returns false if the flow is
// already draining.
func (fl *flow) setServer(server end) bool {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if fl.draining {
		return false
	}
	fl.server = server
	return true
}

// connected returns the connection to the server, or nil.
func (fl *flow) connected() end {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	return fl.server
}

// run copies both ways until both directions have ended, and closes both
// connections. The error says why they didn't end in order.
func (fl *flow) run() error {
	server := fl.connected()
	var clientErr, serverErr error
	clientEnded, serverEnded := make(chan struct{}), make(chan struct{})
	toClient := &clientWriter{fl: fl}
	fromClient := fl.client.forward(&serverWriter{fl: fl, server: server}, func(err error) {
		clientErr = fl.endClient(err, server, serverEnded)
		close(clientEnded)
	})
	fromServer := server.forward(toClient, func(err error) {
		serverErr = fl.endServer(err, server, toClient)
		close(serverEnded)
	})
	// A stream needs no goroutine while it is idle, and a socket gets this one.
	if fromClient != nil && fromServer != nil {
		go fromServer()
		fromServer = nil
	}
	for _, run := range []func(){fromClient, fromServer} {
		if run != nil {
			run()
		}
	}
	<-clientEnded
	<-serverEnded
	_ = server.Close()
	if clientErr != nil {
		fl.awaitClose(serverErr)
	}
	_ = fl.client.Close()
	return errors.Join(clientErr, serverErr)
}

// endClient ends the client's direction, which has ended in order or broken with
// err. It returns why the connection broke.
func (fl *flow) endClient(err error, server end, serverEnded <-chan struct{}) error {
	if err == nil {
		_ = server.CloseWrite()
		// Nothing else would notice now that the session of the client's stream ends.
		select {
		case <-fl.client.sessionDone():
			err = fl.client.sessionErr()
		case <-serverEnded:
		}
	}
	if err != nil {
		fl.lost.CompareAndSwap(nil, &err)
		server.abort()
	}
	return err
}

// endServer ends the server's direction, which has ended in order or broken with
// err. It returns why the connection broke.
func (fl *flow) endServer(err error, server end, toClient *clientWriter) error {
	switch {
	case err != nil:
	case fl.calls.anyOpen():
		err = errServerClosed
	default:
		err = toClient.flush()
	}
	if err == nil {
		_ = fl.client.CloseWrite()
		return nil
	}
	if fl.explain(fl.cause(err)) != nil {
		fl.cut()
	}
	server.abort()
	return err
}

// cause returns why the connection broke: err may only follow from the end of the
// session, or of the client's direction.
func (fl *flow) cause(err error) error {
	if ended := fl.connected().sessionErr(); ended != nil {
		return fmt.Errorf("session ended: %w", ended)
	}
	if first := fl.lost.Load(); first != nil {
		return *first
	}
	return err
}

// awaitClose gives the client time to read how the server's direction ended and to
// close its own, which nothing forwards any more.
func (fl *flow) awaitClose(serverErr error) {
	if serverErr == nil { // otherwise endServer has set a deadline, or cut the connection
		_ = fl.client.SetReadDeadline(time.Now().Add(closeWait))
	}
	if _, err := io.Copy(io.Discard, fl.client); err != nil {
		fl.client.abort() // a stream would wait for the client as long as the session lasts
	}
}

// drain ends the flow: at once if it isn't connected yet, otherwise when no call is
// open. The client is asked to begin no more calls.
func (fl *flow) drain() {
	fl.mu.Lock()
	fl.draining = true
	connected := fl.server != nil
	fl.mu.Unlock()
	if !connected {
		fl.cancel(tunnel.ErrShuttingDown)
		return
	}
	go fl.goAway() // blocks if the client doesn't read
	time.AfterFunc(drainGrace, func() { fl.calls.whenIdle(fl.startClosing) })
}

// startClosing closes gracefully in another goroutine: the caller forwards the bytes
// of a whole session, and closing may block.
func (fl *flow) startClosing() { go fl.closeGracefully() }

// goAway asks an HTTP/2 client to begin no more calls on this connection.
func (fl *flow) goAway() {
	fl.wmu.Lock()
	defer fl.wmu.Unlock()
	fl.goingAway = true
	fl.writeGoAway()
}

// writeGoAway writes the GOAWAY if there is one to write and a frame may follow here.
// The caller holds wmu.
func (fl *flow) writeGoAway() {
	if fl.goingAway && fl.calls.responses.AtBoundary() {
		fl.goingAway = false
		_ = http2.NewFramer(fl.client, nil).WriteGoAway(math.MaxInt32, http2.ErrCodeNo, []byte("wstun: no more calls on this connection"))
	}
}

// closeGracefully closes the connection as its server would: with a FIN, after which
// the client closes its side, and then the server. It bounds how long they may take.
func (fl *flow) closeGracefully() {
	_ = fl.client.CloseWrite()
	deadline := time.Now().Add(closeWait)
	_ = fl.client.SetReadDeadline(deadline)
	_ = fl.connected().SetReadDeadline(deadline)
}

// cut resets both connections.
func (fl *flow) cut() {
	fl.cancel(tunnel.ErrShuttingDown)
	fl.client.abort()
	if server := fl.connected(); server != nil {
		server.abort()
	}
}
