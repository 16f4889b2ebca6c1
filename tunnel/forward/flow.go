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
	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/rpc"
	"github.com/wstun/wstun/tunnel/trace"
)

const (
	// lastCallWait is how long a call may take to arrive that the client sent before
	// it received a GOAWAY.
	lastCallWait = 250 * time.Millisecond

	// closeWait bounds how long the client of a drained connection may take to close
	// its side, and how long Shutdown waits for the connections that it has reset.
	closeWait = time.Second
)

// errServerClosed means that the server closed the connection while calls were open,
// as a server does when it is stopped.
var errServerClosed = errors.New("the server closed the connection")

// flow is the connection of a gRPC client together with its connection to the server.
type flow struct {
	client endpoint
	calls  *calls
	cancel context.CancelCauseFunc // ends the wait for a session

	secrets *escape.Secrets // of the Forwarder
	trace   *trace.Tracer   // of the Forwarder
	since   time.Time       // when the client connected, if there is a trace

	mu       sync.Mutex
	server   endpoint // nil until it is connected
	session  uint64   // the number of the stream's session; 0: unknown
	draining bool
	leaving  bool // Reconnect has asked the client to leave

	clientClosed  atomic.Bool           // the client has closed its direction in order
	clientFailure atomic.Pointer[error] // why the client's direction broke, after which the server's connection is reset

	wmu       sync.Mutex // held while writing to client
	goingAway bool       // a GOAWAY is still to be written to client
}

func newFlow(client endpoint, cancel context.CancelCauseFunc, ended *rpc.Counts) *flow {
	return &flow{client: client, calls: newCalls(ended), cancel: cancel}
}

// setServer sets the connection to the server, which is a stream of s unless that is nil.
// It returns false if the flow is already draining.
func (fl *flow) setServer(server endpoint, s *tunnel.Session) bool {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if fl.draining {
		return false
	}
	fl.server = server
	if s != nil {
		fl.session = s.ID
	}
	return true
}

// connected returns the connection to the server, or nil.
func (fl *flow) connected() endpoint {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	return fl.server
}

// run copies in both directions until both have ended, and closes both connections. It
// returns nil if both directions ended in order.
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
	// A stream needs no goroutine while it is idle. A socket uses this one.
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

// endClient runs when the client's direction has ended: in order, if err is nil. It
// closes or resets the connection to the server, and returns why the connection broke.
func (fl *flow) endClient(err error, server endpoint, serverEnded <-chan struct{}) error {
	if err == nil {
		fl.clientClosed.Store(true)
		_ = server.CloseWrite()
		// No Read of the client's stream is pending any more that would return when
		// its session ends.
		select {
		case <-fl.client.sessionDone():
			err = fl.client.sessionErr()
		case <-serverEnded:
		}
	}
	if err != nil {
		fl.clientFailure.CompareAndSwap(nil, &err)
		server.abort()
	}
	return err
}

// endServer runs when the server's direction has ended: in order, if err is nil. It
// closes the client's connection, or tells the client why it broke, and returns that.
func (fl *flow) endServer(err error, server endpoint, toClient *clientWriter) error {
	switch {
	case err != nil:
	case fl.calls.anyOpen() && !fl.clientClosed.Load(): // otherwise the server has followed the client
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

// cause returns the first cause of err, which may be a consequence of the end of the
// session, or of an error in the client's direction.
func (fl *flow) cause(err error) error {
	if ended := fl.connected().sessionErr(); ended != nil {
		return fmt.Errorf("session ended: %w", ended)
	}
	if first := fl.clientFailure.Load(); first != nil {
		return *first
	}
	return err
}

// awaitClose discards the client's bytes until it closes its direction, so that it can
// first read how the server's direction ended.
func (fl *flow) awaitClose(serverErr error) {
	if serverErr == nil { // otherwise endServer has set a deadline, or reset the connection
		_ = fl.client.SetReadDeadline(time.Now().Add(closeWait))
	}
	if _, err := io.Copy(io.Discard, fl.client); err != nil {
		fl.client.abort() // otherwise a stream would stay open as long as the session
	}
}

// drain ends the flow: at once if it isn't connected yet, otherwise when no call is
// open. It sends the client a GOAWAY and doesn't block.
func (fl *flow) drain() {
	fl.mu.Lock()
	fl.draining = true
	connected := fl.server != nil
	fl.mu.Unlock()
	if !connected {
		fl.cancel(tunnel.ErrShuttingDown)
		return
	}
	go fl.goAway() // may block on a client that doesn't read
	time.AfterFunc(lastCallWait, func() { fl.calls.whenIdle(fl.startClosing) })
}

// reconnect sends an HTTP/2 client a GOAWAY, once the server has begun its connection. The
// client closes the connection when no call is open. It doesn't block.
func (fl *flow) reconnect() {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if !fl.leaving {
		fl.leaving = true
		go fl.goAway() // as in drain
	}
}

// startClosing starts closeGracefully. It must not block, because its caller may be
// the goroutine that receives for a whole session.
func (fl *flow) startClosing() { go fl.closeGracefully() }

// goAway sends a GOAWAY to an HTTP/2 client, now or at the next frame boundary.
func (fl *flow) goAway() {
	fl.wmu.Lock()
	defer fl.wmu.Unlock()
	fl.goingAway = true
	fl.writeGoAway()
}

// writeGoAway writes the GOAWAY if it is due and the client is at a frame boundary. The
// caller holds wmu.
func (fl *flow) writeGoAway() {
	if fl.calls.responses.Err() != nil { // not HTTP/2
		fl.goingAway = false
	}
	if fl.goingAway && fl.calls.responses.AtBoundary() {
		fl.goingAway = false
		const text = "wstun: no more calls on this connection"
		fl.trace.GoAway(text)
		_ = http2.NewFramer(fl.client, nil).WriteGoAway(math.MaxInt32, http2.ErrCodeNo, []byte(text))
	}
}

// closeGracefully sends the client a FIN, as its server would. The client then closes
// its side, and so does the server. It sets deadlines for both.
func (fl *flow) closeGracefully() {
	_ = fl.client.CloseWrite()
	deadline := time.Now().Add(closeWait)
	_ = fl.client.SetReadDeadline(deadline)
	_ = fl.connected().SetReadDeadline(deadline)
}

// cut ends the wait for a session and resets both connections.
func (fl *flow) cut() {
	fl.cancel(tunnel.ErrShuttingDown)
	fl.client.abort()
	if server := fl.connected(); server != nil {
		server.abort()
	}
}
