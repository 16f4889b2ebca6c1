package tunnel

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// scriptedPeer is a peer of a Connector in a bubble. A dial before notBefore fails the
// test.
type scriptedPeer struct {
	t         *testing.T
	connector *Connector
	stop      func() // ends Run and all sessions

	mu                  sync.Mutex
	answer              error           // to a dial; nil: a session
	onlyOne             bool            // the answer is 503 while a session is up
	accepted            *websocket.Conn // the newest one, and its session
	session             *wsmux.Session
	dials               []time.Time
	notBefore, patience time.Time // when the peer may be dialed again, and when it must be if a client waits
}

var errRefused = errors.New("connection refused")

func newScriptedPeer(t *testing.T, c *Connector) *scriptedPeer {
	t.Helper()
	p := &scriptedPeer{t: t, connector: c, answer: errRefused}
	c.URL, c.Sessions, c.dialWebSocket = "ws://peer/", &Sessions{}, p.dial
	c.Options = &DialOptions{Proxy: "none"}
	return p
}

// run starts the Connector.
func (p *scriptedPeer) run() (result <-chan error) {
	ctx, cancel := context.WithCancel(p.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.connector.Run(ctx) }()
	p.stop = func() {
		cancel()
		_ = p.connector.Sessions.Shutdown(tunneltest.Ended())
		p.close(0)
	}
	return ended
}

func (p *scriptedPeer) dial(context.Context, string, *DialOptions) (*websocket.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.dials = append(p.dials, now)
	if early := p.notBefore.Sub(now); early > 0 {
		p.t.Errorf("dialed %v early", early)
	}
	if p.onlyOne && p.session != nil && p.session.Err() == nil {
		return nil, &HandshakeError{StatusCode: http.StatusServiceUnavailable, RetryAfter: time.Hour}
	}
	if p.answer != nil {
		p.notBefore = now.Add(retryAfter(p.answer))
		if p.patience = p.notBefore; p.patience.After(now) {
			p.patience = p.patience.Add(time.Second)
		}
		return nil, p.answer
	}
	dialed, accepted := tunneltest.PipedWebSockets(p.t) //nolint:contextcheck // they last as long as the test
	s, err := wsmux.NewSession(accepted, wsmux.Accepting, wsmux.Server, nil)
	if err != nil {
		return nil, err
	}
	p.accepted, p.session = accepted, s
	go func() {
		for {
			stream, err := s.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the session
				defer stream.Close()
				_, _ = io.Copy(stream, stream)
			}()
		}
	}()
	return dialed, nil
}

// listen sets the answer to dials.
func (p *scriptedPeer) listen(answer error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

// close ends the newest session, with a Close frame unless code is 0.
func (p *scriptedPeer) close(code int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.accepted == nil {
		return
	}
	if code != 0 {
		_ = p.accepted.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), time.Now().Add(time.Minute))
	}
	now := time.Now()
	switch code {
	case websocket.CloseServiceRestart:
		p.patience = now.Add(5 * time.Second)
	case websocket.CloseTryAgainLater:
		p.notBefore, p.patience = now.Add(5*time.Second), now.Add(30*time.Second)
	case CloseReplaced:
		p.notBefore = now.Add(time.Minute)
	}
	_ = p.accepted.NetConn().Close()
	p.accepted = nil
}

// dialTimes returns the times of the dials since the given one.
func (p *scriptedPeer) dialTimes(since time.Time) (after []time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.dials {
		if !d.Before(since) {
			after = append(after, d.Sub(since))
		}
	}
	return after
}

// call opens a stream as soon as a session is up, and awaits an echo.
func (p *scriptedPeer) call(wait time.Duration) error {
	stream, _, err := p.connector.Sessions.Open(p.t.Context(), wait)
	if err != nil {
		return err
	}
	defer stream.Close()
	return echoByte(stream)
}

func echoByte(stream io.ReadWriter) error {
	if _, err := stream.Write([]byte{1}); err != nil {
		return err
	}
	_, err := io.ReadFull(stream, make([]byte, 1))
	return err
}
