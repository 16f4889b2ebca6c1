package limit

import (
	"sync"

	"golang.org/x/net/http2"

	"github.com/wstun/wstun/tunnel/h2"
)

// firstWindow is a connection's first window (RFC 9113 §6.9.2).
const firstWindow = 65535

// flow counts the messages of a connection, and decides when flow-control credit reaches
// the peer (RFC 9113 §5.2). grpc-go gives a stream credit for each message that a handler
// waits for, whatever its size, and gives the connection credit for all that it has
// received.
//
//   - The credit for a large message waits until the message fits.
//   - A session's connections are stalled while its unread bytes, the memory of frames
//     that handlers haven't received, take more than an eighth of its memory, and while
//     the requests that handlers hold leave no room for a response. Then they get no
//     credit, except for messages that fit. That ends when handlers receive the messages,
//     and the peer takes the responses.
//   - Incomplete messages that fit into the stream's first window don't stall the
//     connection, because they may all wait for each other. If the unread bytes take half
//     of the memory, the connection is closed.
type flow struct {
	session *Session
	use     use                 // receiving or answering
	first   int64               // the first window of a stream
	send    func(frames []byte) // may block
	giveUp  func(last []byte)   // may block

	mu       sync.Mutex
	streams  map[uint32]*stream // open ones; nil once closed
	window   int64              // the peer's credit for the connection
	expected int64              // bytes of messages that fit, not yet received
	delayed  int64              // credit that a stalled connection doesn't get
}

// stream is the flow control of an open stream.
type stream struct {
	messages h2.Messages
	read     uint64  // messages that the handler has received
	balance  int64   // bytes received minus credit given
	unread   unread  // memory of the frames since the handler had received all messages
	tail     int64   // the part of that with an incomplete message
	reserved int64   // for the message that is being received
	expected int64   // bytes of that, not yet received
	waiting  *waiter // for credit

	sent   h2.Messages // to a client
	queued []int64     // memory of the messages that are not yet sent
}

func newFlow(s *Session, u use, send, giveUp func([]byte)) *flow {
	first, _ := s.windows()
	return &flow{session: s, first: int64(first), use: u, send: send, giveUp: giveUp, streams: make(map[uint32]*stream), window: firstWindow}
}

func (f *flow) open(id uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.streams != nil && f.streams[id] == nil {
		f.streams[id] = &stream{}
	}
}

// receivedFrame records a DATA frame whose payload has n bytes. If the unread bytes become
// too many, the connection is closed.
func (f *flow) receivedFrame(id uint32, n int64) {
	f.mu.Lock()
	f.window -= n
	f.topUp()
	st := f.streams[id]
	if st == nil {
		f.mu.Unlock()
		return
	}
	memory := frameMemory(n)
	if st.expected > 0 && st.messages.Left() > 0 {
		memory -= n
		f.expect(st, -min(n, st.expected))
	}
	if st.balance += n; f.mayBeRead(st) {
		memory = 0
	}
	st.tail += memory
	change := f.setUnread(st, st.unread.all+memory)
	f.mu.Unlock()
	if f.session.change(f.use, change, 0) {
		f.abort()
	}
}

// setUnread sets the unread bytes and returns the change.
func (f *flow) setUnread(st *stream, all int64) unread {
	before := st.unread
	st.unread = unread{all: all}
	if st.messages.Length() <= f.first {
		st.unread.partial = st.tail
	}
	return unread{st.unread.all - before.all, st.unread.partial - before.partial}
}

// receivedData records data of a DATA frame.
func (f *flow) receivedData(id uint32, p []byte) {
	f.mu.Lock()
	st := f.streams[id]
	if st == nil {
		f.mu.Unlock()
		return
	}
	count, length := st.messages.Count(), st.messages.Length()
	st.messages.Scan(p)
	isComplete := st.messages.Count() != count
	if st.messages.AtBoundary() {
		st.tail = 0
	} else if isComplete {
		st.tail = min(st.tail, frameMemory(int64(len(p))))
	}
	change := f.setUnread(st, st.unread.all)
	if f.use == receiving || st.reserved == 0 || !isComplete {
		f.mu.Unlock()
		f.session.change(f.use, change, 0)
		return
	}
	read, reserved := f.caughtUp(st)
	f.mu.Unlock()
	f.session.change(answering, change.plus(read), -read.all)
	f.session.arrive(length-h2.PrefixLen, &held{session: f.session, n: -read.all - reserved})
}

// mayBeRead reports whether the handler may have received all bytes of st without that
// grpc-go has given credit for them. Only a server says when a handler has received a
// message.
func (f *flow) mayBeRead(st *stream) bool {
	return f.use == answering && st.reserved == 0 && st.balance <= f.first/4
}

// readMessage records that the handler has received a message.
func (f *flow) readMessage(id uint32) {
	f.mu.Lock()
	var read unread
	var reserved int64
	if st := f.streams[id]; st != nil {
		if st.read++; st.read >= st.messages.Count() {
			read, reserved = f.caughtUp(st)
		}
	}
	f.mu.Unlock()
	f.session.change(f.use, read, reserved)
}

// caughtUp records that the handler has received all complete messages. It returns the
// changes of the unread and the reserved bytes.
func (f *flow) caughtUp(st *stream) (read unread, reserved int64) {
	reserved = -st.reserved
	st.reserved = 0
	f.expect(st, -st.expected)
	return f.setUnread(st, st.tail), reserved
}

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
	if st.balance-n < -f.first {
		defer f.mu.Unlock()
		if w := f.session.reserve(n, f.use, func() { go f.giveReserved(id, n) }); w != nil {
			st.waiting = w
			return false
		}
		f.reserved(st, n)
		return true
	}
	var read unread
	if st.balance -= n; f.mayBeRead(st) {
		st.tail = 0
		read, _ = f.caughtUp(st)
	}
	f.mu.Unlock()
	f.session.change(f.use, read, 0)
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
	f.reserved(st, n)
	f.mu.Unlock()
	f.send(windowUpdate(id, n))
}

// reserved records a reservation of n bytes for a message. The caller holds mu.
func (f *flow) reserved(st *stream, n int64) {
	st.reserved += n
	st.balance -= n
	f.expect(st, n)
	f.topUp()
}

// expect changes the number of expected bytes. The caller holds mu.
func (f *flow) expect(st *stream, n int64) {
	st.expected += n
	f.expected += n
}

// topUp gives a stalled connection credit if it needs that for a message that fits: other
// messages may have used up the credit it had. The caller holds mu.
func (f *flow) topUp() {
	n := min(f.delayed, firstWindow)
	if n > 0 && f.expected > 0 && f.window < firstWindow {
		f.delayed -= n
		f.window += n
		go f.send(windowUpdate(0, n))
	}
}

// queue counts the memory of a message until it is sent.
func (f *flow) queue(id uint32, memory int64) {
	f.mu.Lock()
	st := f.streams[id]
	if st != nil {
		st.queued = append(st.queued, memory)
	}
	f.mu.Unlock()
	if st == nil {
		f.session.charge(-memory)
	}
}

// sentData records data that is being sent.
func (f *flow) sentData(id uint32, p []byte) {
	f.mu.Lock()
	st := f.streams[id]
	if st == nil {
		f.mu.Unlock()
		return
	}
	count := st.sent.Count()
	st.sent.Scan(p)
	n := min(int(st.sent.Count()-count), len(st.queued)) //nolint:gosec // fewer than the bytes of p
	memory := sum(st.queued[:n])
	if st.queued = st.queued[n:]; len(st.queued) == 0 {
		st.queued = nil
	}
	f.mu.Unlock()
	f.session.charge(-memory)
}

// stall delays n bytes of the connection's credit if the connection is to be stalled. It
// reports whether it does.
func (f *flow) stall(n int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.streams == nil || !f.session.stall(f) {
		f.window += n
		return false
	}
	f.delayed += n
	f.topUp()
	return true
}

// resume gives the connection its delayed credit.
func (f *flow) resume() {
	f.mu.Lock()
	n := f.delayed
	f.window += n
	f.delayed = 0
	f.mu.Unlock()
	if n > 0 {
		f.send(windowUpdate(0, n))
	}
}

// abort resets the streams with unread bytes, for which gRPC clients report
// RESOURCE_EXHAUSTED, and closes the connection. It doesn't block.
func (f *flow) abort() {
	f.mu.Lock()
	var last []byte
	for id, st := range f.streams {
		if st.unread.all > 0 {
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
	if st != nil {
		f.expect(st, -st.expected)
	}
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
	f.session.change(f.use, unread{-st.unread.all, -st.unread.partial}, -st.reserved-sum(st.queued))
}

// close forgets all streams.
func (f *flow) close() {
	f.mu.Lock()
	streams := f.streams
	f.streams = nil
	f.delayed = 0
	f.mu.Unlock()
	f.session.unstall(f)
	for _, st := range streams {
		f.release(st)
	}
}
