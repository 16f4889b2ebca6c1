package limit

import (
	"sync"
	"time"

	"golang.org/x/net/http2"

	"github.com/wstun/wstun/tunnel/h2"
)

const (
	// freeCredit is the credit of each stream that isn't reserved, in bytes: the
	// initial window (RFC 9113 §6.9.2).
	freeCredit = 65535

	// stallTimeout is how long a connection may go without credit before it is closed.
	stallTimeout = 10 * time.Second
)

// flow decides when a server's flow-control credit reaches the peer (RFC 9113 §5.2).
// grpc-go gives a stream credit for each message that a handler waits for, whatever its
// size, and gives the connection credit for all that it has received.
//
//   - The credit for a large message waits until the message fits.
//   - A session's unread bytes, those that handlers haven't received, may take a quarter
//     of its memory. Beyond that, its connections get no credit. Complete messages leave
//     this state when handlers receive them. If that takes more than stallTimeout, or the
//     unread bytes come to take half of the memory, the messages are incomplete and wait
//     for each other: the connection is closed.
type flow struct {
	session *Session
	use     use                 // receiving or responding
	send    func(frames []byte) // may block
	giveUp  func(last []byte)   // may block

	mu       sync.Mutex
	streams  map[uint32]*stream // open ones; nil once closed
	stalled  int64              // credit of the connection that is delayed
	stalling *time.Timer        // calls abort; nil if stalled is 0
}

// stream is the flow control of an open stream. All values are bytes.
type stream struct {
	messages h2.Messages
	balance  int64   // received minus credit given
	unread   int64   // the part of balance that counts
	reserved int64   // for the message that is being received
	left     int64   // of that message, still to be received
	waiting  *waiter // for credit
}

func newFlow(s *Session, u use, send, giveUp func([]byte)) *flow {
	return &flow{session: s, use: u, send: send, giveUp: giveUp, streams: make(map[uint32]*stream)}
}

func (f *flow) open(id uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.streams != nil && f.streams[id] == nil {
		f.streams[id] = &stream{}
	}
}

// receivedFrame records a DATA frame whose payload has n bytes. If it makes the unread
// bytes too many, the connection is closed.
func (f *flow) receivedFrame(id uint32, n int64) {
	f.mu.Lock()
	st := f.streams[id]
	if st == nil {
		f.mu.Unlock()
		return
	}
	unread := f.change(st, n)
	f.mu.Unlock()
	if f.session.changeUnread(unread, 0) {
		f.abort()
	}
}

// receivedData records data of a DATA frame.
func (f *flow) receivedData(id uint32, p []byte) {
	f.mu.Lock()
	st := f.streams[id]
	if st == nil {
		f.mu.Unlock()
		return
	}
	st.messages.Scan(p)
	var unreserved int64
	if st.reserved > 0 {
		if st.left -= int64(len(p)); st.left <= 0 { // the codec counts the message now
			unreserved, st.reserved = st.reserved, 0
		}
	}
	f.mu.Unlock()
	f.session.charge(-unreserved)
}

// change changes the balance of st, and returns the change of unread. Responses don't
// count as unread: upstreams are trusted not to leave many incomplete.
func (f *flow) change(st *stream, n int64) (unread int64) {
	st.balance += n
	before := st.unread
	if st.unread = st.balance; st.unread <= small || f.use == responding {
		st.unread = 0
	}
	return st.unread - before
}

// reserve records a reservation for the message that is being received.
func (st *stream) reserve(n int64) { st.reserved, st.left = n, int64(st.messages.Left()) }

// mayGive reports whether n bytes of credit may be given now. Otherwise flow gives them
// later.
func (f *flow) mayGive(id uint32, n int64) bool {
	if id == 0 {
		return !f.stall(n)
	}
	f.mu.Lock()
	st := f.streams[id]
	if st == nil || st.waiting != nil { // a handler waits for one message at a time
		f.mu.Unlock()
		return true
	}
	if st.balance-n < -freeCredit {
		defer f.mu.Unlock()
		if w := f.session.reserve(n, f.use, func() { go f.giveReserved(id, n) }); w != nil {
			st.waiting = w
			return false
		}
		st.reserve(n)
		st.balance -= n
		return true
	}
	unread := f.change(st, -n)
	f.mu.Unlock()
	f.session.changeUnread(unread, 0)
	return true
}

// giveReserved gives a stream credit for which memory has been reserved.
func (f *flow) giveReserved(id uint32, n int64) {
	f.mu.Lock()
	st := f.streams[id]
	if st == nil || st.waiting == nil { // end has released the memory
		f.mu.Unlock()
		return
	}
	st.waiting = nil
	st.reserve(n)
	unread := f.change(st, -n)
	f.mu.Unlock()
	f.session.changeUnread(unread, 0)
	f.send(appendWindowUpdate(nil, id, n))
}

// stall delays n bytes of the connection's credit if the session has too many unread
// bytes. It reports whether it does.
func (f *flow) stall(n int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.streams == nil || !f.session.stall(f) {
		return false
	}
	if f.stalled += n; f.stalling == nil {
		f.stalling = time.AfterFunc(stallTimeout, f.abort)
	}
	return true
}

// resume gives the connection its delayed credit.
func (f *flow) resume() {
	f.mu.Lock()
	n := f.stalled
	f.stopStalling()
	f.mu.Unlock()
	if n > 0 {
		f.send(appendWindowUpdate(nil, 0, n))
	}
}

// stopStalling resets stalled. The caller holds mu.
func (f *flow) stopStalling() {
	if f.stalling != nil {
		f.stalling.Stop()
	}
	f.stalling, f.stalled = nil, 0
}

// abort resets the streams with unread bytes, for which gRPC clients report
// RESOURCE_EXHAUSTED, and closes the connection. It doesn't block.
func (f *flow) abort() {
	f.mu.Lock()
	var last []byte
	for id, st := range f.streams {
		if st.unread > 0 {
			last = appendReset(last, id, http2.ErrCodeEnhanceYourCalm)
		}
	}
	f.mu.Unlock()
	f.close()
	go f.giveUp(last)
}

// end forgets a stream.
func (f *flow) end(id uint32) {
	f.mu.Lock()
	st := f.streams[id]
	delete(f.streams, id)
	f.mu.Unlock()
	if st != nil {
		f.release(st)
	}
}

// release releases the memory of a stream.
func (f *flow) release(st *stream) {
	if st.waiting != nil {
		f.session.cancel(st.waiting)
	}
	f.session.changeUnread(-st.unread, -st.reserved)
}

// close forgets all streams.
func (f *flow) close() {
	f.mu.Lock()
	streams := f.streams
	f.streams = nil
	f.stopStalling()
	f.mu.Unlock()
	f.session.unstall(f)
	for _, st := range streams {
		f.release(st)
	}
}
