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

// pongWait bounds how long a Pong may wait for the socket; then the connection fails.
// gorilla's default handler allows one second, too little for a socket that is busy.
const pongWait = 60 * time.Second

// pongs is the state of answering the peer's Pings.
type pongs struct {
	mu      sync.Mutex
	data    *string // of the newest unanswered Ping; nil if there is none
	sending bool    // sendPongs is running
}

// answerPing starts to answer a Ping in another goroutine, because the reader must not
// wait for a full socket. While a Pong waits, it keeps only the newest Ping, which RFC
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
		// The next write returns the error, too.
		_ = c.writeControl(websocket.PongMessage, []byte(*data), time.Now().Add(pongWait))
	}
}

// maxPendingPings is how many Pings may wait for their Pong. Beyond that, the oldest
// is forgotten: the peer may answer none.
const maxPendingPings = 64

// pings are the Pings of this side that wait for their Pong.
type pings struct {
	mu      sync.Mutex
	pending []*ping // oldest first
}

type ping struct {
	sent time.Duration // since Conn.started; its decimal form is the payload
	pong chan struct{} // closed when the Pong arrives
}

// Ping sends a Ping like SendPing, waits for the Pong, and returns the round-trip
// time. That doesn't include the wait for a message that is being sent.
func (c *Conn) Ping(ctx context.Context, sendBy time.Time) (time.Duration, error) {
	p, err := c.sendPing(sendBy)
	if err != nil {
		return 0, err
	}
	defer c.forgetPing(p)
	select {
	case <-p.pong:
		return time.Duration(c.roundTrip.Load()), nil
	case <-c.ended:
		return 0, c.end
	case <-c.closing:
		return 0, net.ErrClosed
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// SendPing sends a Ping (RFC 6455 §5.5.2) and doesn't wait for the Pong, which changes
// Received and RoundTrips. The connection fails if the Ping isn't in the socket's
// buffer by sendBy, so allow plenty of time.
func (c *Conn) SendPing(sendBy time.Time) error {
	_, err := c.sendPing(sendBy)
	return err
}

func (c *Conn) sendPing(sendBy time.Time) (*ping, error) {
	if err := c.acquireWriter(sendBy); err != nil {
		return nil, err
	}
	defer c.releaseWriter()
	p := &ping{sent: time.Since(c.started), pong: make(chan struct{})}
	c.pings.mu.Lock()
	if c.pings.pending = append(c.pings.pending, p); len(c.pings.pending) > maxPendingPings {
		c.pings.pending = slices.Delete(c.pings.pending, 0, 1)
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
	c.pings.pending = slices.DeleteFunc(c.pings.pending, func(o *ping) bool { return o == p })
}

// receivePong completes the Ping with this payload and all older ones, because a peer
// may answer only the newest of several Pings. It ignores an unsolicited Pong.
func (c *Conn) receivePong(data string) {
	payload, err := strconv.ParseInt(data, 10, 64)
	if err != nil {
		return
	}
	c.pings.mu.Lock()
	defer c.pings.mu.Unlock()
	i := slices.IndexFunc(c.pings.pending, func(p *ping) bool { return int64(p.sent) == payload })
	if i < 0 {
		return
	}
	took := max(int64(time.Since(c.started))-payload, 1) // 0 would mean none yet
	c.roundTrip.Store(took)
	if least := c.minRoundTrip.Load(); least == 0 || took < least {
		c.minRoundTrip.Store(took)
	}
	for _, p := range c.pings.pending[:i+1] {
		close(p.pong)
	}
	c.pings.pending = slices.Delete(c.pings.pending, 0, i+1)
}

// RoundTrips returns the round-trip times of the last Ping and of the fastest one, or
// 0 if none has been answered.
func (c *Conn) RoundTrips() (last, least time.Duration) {
	return time.Duration(c.roundTrip.Load()), time.Duration(c.minRoundTrip.Load())
}
