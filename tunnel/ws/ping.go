package ws

import (
	"context"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// pongWait bounds the sending of a Pong. gorilla's own handler allows one second,
// after which a full socket costs the whole connection.
const pongWait = 60 * time.Second

// pongs answers Pings.
type pongs struct {
	mu      sync.Mutex
	data    *string // of the newest Ping that has no answer
	sending bool    // a goroutine answers
}

// answerPing answers a Ping from another goroutine: the reader must not wait for
// a full socket. While one answer waits, only the newest Ping is kept, which RFC
// 6455 §5.5.3 allows.
func (c *Conn) answerPing(data string) error {
	c.pongs.mu.Lock()
	defer c.pongs.mu.Unlock()
	c.pongs.data = &data
	if !c.pongs.sending {
		c.pongs.sending = true
		go c.sendPongs()
	}
	return nil
}

func (c *Conn) sendPongs() {
	for {
		c.pongs.mu.Lock()
		data := c.pongs.data
		c.pongs.data = nil
		if data == nil {
			c.pongs.sending = false
		}
		c.pongs.mu.Unlock()
		if data == nil {
			return
		}
		// An error shows in the next write as well.
		_ = c.writeControl(websocket.PongMessage, []byte(*data), time.Now().Add(pongWait))
	}
}

// maxWaiting is how many Pings may wait for their Pong. The oldest is forgotten
// for another: the peer may answer none.
const maxWaiting = 64

// pings are the Pings that wait for their Pong, oldest first.
type pings struct {
	mu      sync.Mutex
	waiting []*ping
}

type ping struct {
	sent time.Duration // after the connection's start; also its payload
	pong chan struct{} // closed when the answer arrives
}

// Ping is SendPing that waits for the Pong. It returns how long that took from the
// moment at which no message was being sent any more.
func (c *Conn) Ping(ctx context.Context, sendBy time.Time) (time.Duration, error) {
	p, err := c.sendPing(sendBy)
	if err != nil {
		return 0, err
	}
	defer c.forgetPing(p)
	select {
	case <-p.pong:
		return time.Duration(c.roundTrip.Load()), nil
	case <-c.endKnown:
		return 0, c.end
	case <-c.closing:
		return 0, net.ErrClosed
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// SendPing sends a Ping (RFC 6455 §5.5.2), whose Pong shows in Received and
// RoundTrips. A Ping that the socket hasn't taken by sendBy fails the connection,
// so that is best generous.
func (c *Conn) SendPing(sendBy time.Time) error {
	_, err := c.sendPing(sendBy)
	return err
}

func (c *Conn) sendPing(sendBy time.Time) (*ping, error) {
	if err := c.takeTurn(sendBy); err != nil {
		return nil, err
	}
	defer c.endTurn()
	p := &ping{sent: time.Since(c.started), pong: make(chan struct{})}
	c.pings.mu.Lock()
	if c.pings.waiting = append(c.pings.waiting, p); len(c.pings.waiting) > maxWaiting {
		c.pings.waiting = slices.Delete(c.pings.waiting, 0, 1)
	}
	c.pings.mu.Unlock()
	err := c.ws.WriteControl(websocket.PingMessage, strconv.AppendInt(nil, int64(p.sent), 10), sendBy)
	if err != nil {
		c.forgetPing(p)
	}
	return p, err
}

func (c *Conn) forgetPing(p *ping) {
	c.pings.mu.Lock()
	defer c.pings.mu.Unlock()
	c.pings.waiting = slices.DeleteFunc(c.pings.waiting, func(o *ping) bool { return o == p })
}

// receivePong ends the wait for a Pong. The peer may answer only the newest of
// several Pings. A Pong that nobody asked for changes nothing.
func (c *Conn) receivePong(data string) {
	payload, err := strconv.ParseInt(data, 10, 64)
	if err != nil {
		return
	}
	c.pings.mu.Lock()
	defer c.pings.mu.Unlock()
	i := slices.IndexFunc(c.pings.waiting, func(p *ping) bool { return int64(p.sent) == payload })
	if i < 0 {
		return
	}
	took := max(int64(time.Since(c.started))-payload, 1)
	c.roundTrip.Store(took)
	if least := c.leastTrip.Load(); least == 0 || took < least {
		c.leastTrip.Store(took)
	}
	for _, p := range c.pings.waiting[:i+1] {
		close(p.pong)
	}
	c.pings.waiting = slices.Delete(c.pings.waiting, 0, i+1)
}

// RoundTrips returns how long the last Ping took, and the fastest of all; 0 while
// none has been answered.
func (c *Conn) RoundTrips() (last, least time.Duration) {
	return time.Duration(c.roundTrip.Load()), time.Duration(c.leastTrip.Load())
}
