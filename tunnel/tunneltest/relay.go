package tunneltest

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// relaySocketBuffer is the size of the relay's socket buffers in bytes. It is small, so
// that writes soon block if the peer doesn't read.
const relaySocketBuffer = 16 * 1024

// Relay forwards TCP connections to one address, and can delay, limit, freeze and reset
// them. Its methods may be called at any time and apply to all connections, old and new.
type Relay struct {
	target *net.TCPAddr
	ln     *net.TCPListener
	wg     sync.WaitGroup
	done   chan struct{} // closed when the test ends

	mu        sync.Mutex
	thawed    [2]chan struct{} // by direction; closed while bytes may pass
	delay     time.Duration
	bandwidth int // bytes per second; 0: no limit
	left      int // bytes until Cut; negative: no limit
	links     map[*link]struct{}
}

// Direction is one direction of a connection.
type Direction int

// ToTarget is from the dialing client to the relay's target, and FromTarget the
// opposite.
const (
	ToTarget Direction = iota
	FromTarget
)

// link is one connection through the relay.
type link struct {
	near, far *net.TCPConn
	cut       chan struct{} // closed by close
	once      sync.Once
}

// NewRelay starts a relay that connects clients of [Relay.Addr] to target, a TCP
// address. It ends when tb ends.
func NewRelay(tb testing.TB, target string) *Relay {
	tb.Helper()
	addr, err := net.ResolveTCPAddr("tcp", target)
	if err != nil {
		tb.Fatalf("relay: %v", err)
	}
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		tb.Fatalf("relay: %v", err)
	}
	r := &Relay{
		target: addr,
		ln:     ln,
		done:   make(chan struct{}),
		left:   -1,
		links:  make(map[*link]struct{}),
	}
	for i := range r.thawed {
		r.thawed[i] = make(chan struct{})
		close(r.thawed[i])
	}
	r.wg.Go(r.accept)
	tb.Cleanup(func() {
		close(r.done)
		_ = ln.Close()
		r.Cut()
		r.wg.Wait()
	})
	return r
}

// Addr returns the address to dial.
func (r *Relay) Addr() string { return r.ln.Addr().String() }

// Freeze makes the relay a black hole: connections stay up and new ones are accepted,
// but no bytes pass in the given directions (default: both), nor the end of a
// connection. Bytes that are being written still arrive.
func (r *Relay) Freeze(directions ...Direction) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(directions) == 0 {
		directions = []Direction{ToTarget, FromTarget}
	}
	for _, d := range directions {
		select {
		case <-r.thawed[d]:
			r.thawed[d] = make(chan struct{})
		default:
		}
	}
}

// Thaw ends Freeze: waiting bytes pass.
func (r *Relay) Thaw() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, thawed := range r.thawed {
		select {
		case <-thawed:
		default:
			close(thawed)
		}
	}
}

// CutAfter makes the relay call Cut after n more bytes have passed, counted over all
// connections and both directions.
func (r *Relay) CutAfter(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = n
}

// Cut ends every connection at both ends with a TCP reset. New connections are possible.
func (r *Relay) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for l := range r.links {
		l.close()
	}
}

// SetDelay delays bytes by d in each direction. On connections that already exist it
// also limits the rate.
func (r *Relay) SetDelay(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delay = d
}

// SetBandwidth limits each direction of each connection to bytesPerSecond.
// Zero lifts the limit.
func (r *Relay) SetBandwidth(bytesPerSecond int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bandwidth = bytesPerSecond
}

func (r *Relay) accept() {
	for {
		near, err := r.ln.AcceptTCP()
		if err != nil {
			return
		}
		far, err := net.DialTCP("tcp", nil, r.target)
		if err != nil {
			_ = near.Close()
			continue
		}
		l := &link{near: near, far: far, cut: make(chan struct{})}
		for _, c := range []*net.TCPConn{l.near, l.far} {
			_ = c.SetReadBuffer(relaySocketBuffer)
			_ = c.SetWriteBuffer(relaySocketBuffer)
		}
		r.mu.Lock()
		r.links[l] = struct{}{}
		r.mu.Unlock()
		select {
		case <-r.done: // Cut may have run before l was in links
			l.close()
		default:
		}
		r.wg.Go(func() { r.relay(l) })
	}
}

// relay copies in both directions until both have ended.
func (r *Relay) relay(l *link) {
	var wg sync.WaitGroup
	wg.Go(func() { r.copy(l, ToTarget, l.far, l.near) })
	wg.Go(func() { r.copy(l, FromTarget, l.near, l.far) })
	wg.Wait()
	l.close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.links, l)
}

// chunk is bytes in transit.
type chunk struct {
	data []byte
	due  time.Time // when they may be written
}

// copy copies src to dst. It reads on while bytes are delayed, so that a delay doesn't
// limit the rate.
func (r *Relay) copy(l *link, d Direction, dst, src *net.TCPConn) {
	chunks := make(chan chunk, r.conditions().ahead())
	r.wg.Go(func() {
		defer close(chunks)
		for {
			buf := make([]byte, relaySocketBuffer)
			n, err := src.Read(buf)
			if !r.pass(l, d) {
				return
			}
			if n > 0 {
				select {
				case chunks <- chunk{buf[:n], time.Now().Add(r.conditions().delay)}:
				case <-l.cut:
					return
				}
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					l.close()
				}
				return
			}
		}
	})
	for c := range chunks {
		if !l.wait(time.Until(c.due)) || !r.pass(l, d) {
			break
		}
		data := r.take(c.data)
		if _, err := dst.Write(data); err != nil {
			l.close()
			break
		}
		if len(data) < len(c.data) {
			r.Cut()
			break
		}
		if bandwidth := r.conditions().bandwidth; bandwidth > 0 {
			l.wait(time.Duration(len(c.data)) * time.Second / time.Duration(bandwidth))
		}
	}
	for range chunks { // so that the reader doesn't block
	}
	_ = dst.CloseWrite()
}

// take returns the part of data that passes before CutAfter is due.
func (r *Relay) take(data []byte) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left < 0 {
		return data
	}
	n := min(r.left, len(data))
	if r.left -= n; n < len(data) {
		r.left = -1
	}
	return data[:n]
}

// conditions are the current settings of a Relay.
type conditions struct {
	thawed    [2]chan struct{}
	delay     time.Duration
	bandwidth int
}

// ahead returns how many chunks may be in transit in one direction of a link.
func (c conditions) ahead() int {
	if c.delay == 0 {
		return 0
	}
	return 1024
}

func (r *Relay) conditions() conditions {
	r.mu.Lock()
	defer r.mu.Unlock()
	return conditions{r.thawed, r.delay, r.bandwidth}
}

// pass waits while the relay is frozen. It returns false if l is cut.
func (r *Relay) pass(l *link, d Direction) bool {
	select {
	case <-l.cut:
		return false
	case <-r.conditions().thawed[d]:
		return true
	}
}

// wait waits for d. It returns false if l is cut.
func (l *link) wait(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-l.cut:
		return false
	case <-timer.C:
		return true
	}
}

// close resets both connections of l.
func (l *link) close() {
	l.once.Do(func() {
		close(l.cut)
		for _, c := range []*net.TCPConn{l.near, l.far} {
			_ = c.SetLinger(0)
			_ = c.Close()
		}
	})
}
