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
	closed   bool
	streams  map[uint32]*stream // open ones, and those whose handlers receive a message
	window   int64              // the peer's credit for the connection
	expected int64              // bytes of messages that fit, not yet received
	delayed  int64              // credit that a stalled connection doesn't get
}

func newFlow(s *Session, u use, send, giveUp func([]byte)) *flow {
	first, _ := s.windows()
	return &flow{session: s, first: int64(first), use: u, send: send, giveUp: giveUp, streams: make(map[uint32]*stream), window: firstWindow}
}

func (f *flow) open(id uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed && f.streams[id] == nil {
		f.streams[id] = &stream{}
	}
}

// receivedFrame records a DATA frame whose payload has n bytes. If that exceeds the window,
// or the unread bytes become too many, the connection is closed.
func (f *flow) receivedFrame(id uint32, n int64) {
	f.mu.Lock()
	f.window -= n
	f.topUp()
	tooMany := f.window < 0 && !f.closed
	st := f.streams[id]
	if st == nil || tooMany {
		f.mu.Unlock()
		if tooMany {
			f.abort()
		}
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
	complete := st.messages.Count() - count
	if complete == 0 {
		change := f.setUnread(st, st.unread.all)
		f.mu.Unlock()
		f.session.change(f.use, change, 0)
		return
	}
	memory, reserved := st.tail, st.reserved
	st.tail, st.reserved = 0, 0
	f.expect(st, -st.expected)
	if f.use == receiving {
		st.complete = append(st.complete, chunk{complete, memory, reserved})
		change := f.setUnread(st, st.unread.all)
		f.mu.Unlock()
		f.session.change(receiving, change, 0)
		return
	}
	if reserved == 0 {
		memory = 0 // it stays unread
	}
	change := f.setUnread(st, st.unread.all-memory)
	f.mu.Unlock()
	f.session.change(answering, change, memory)
	if reserved > 0 {
		f.session.arrive(length-h2.PrefixLen, &held{session: f.session, n: memory + reserved})
	}
}

// mayBeRead reports whether the handler may have received all bytes of st without that
// grpc-go has given credit for them. Only a server says when a handler has received a
// message.
func (f *flow) mayBeRead(st *stream) bool {
	return f.use == answering && st.reserved == 0 && st.balance <= f.first/4
}

// beginRead records that the handler waits for a message.
func (f *flow) beginRead(id uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if st := f.streams[id]; st != nil {
		st.isReading = true
	}
}

// endRead records that the handler has received a message, or has got an error.
func (f *flow) endRead(id uint32) {
	f.mu.Lock()
	st := f.streams[id]
	if st == nil {
		f.mu.Unlock()
		return
	}
	if st.isReading = false; st.ended {
		delete(f.streams, id)
		f.mu.Unlock()
		f.release(st)
		return
	}
	if len(st.complete) == 0 {
		f.mu.Unlock()
		return
	}
	first := &st.complete[0]
	if first.messages--; first.messages > 0 {
		f.mu.Unlock()
		return
	}
	reserved := first.reserved
	change := f.setUnread(st, st.unread.all-first.memory)
	if st.complete = st.complete[1:]; len(st.complete) == 0 {
		st.complete = nil
	}
	f.mu.Unlock()
	f.session.change(f.use, change, -reserved)
}

// callAtEnd calls end when the stream ends. It returns false if that has happened.
func (f *flow) callAtEnd(id uint32, end func()) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	st := f.streams[id]
	if st == nil || st.ended {
		return false
	}
	st.onEnd = end
	return true
}

// mayGive reports whether n bytes of credit may be given now. Otherwise flow gives them
// later.
func (f *flow) mayGive(id uint32, n int64) bool {
	if id == 0 {
		return !f.stall(n)
	}
	f.mu.Lock()
	st := f.streams[id]
	if st == nil {
		f.mu.Unlock()
		return true
	}
	isLarge := n+h2.PrefixLen > f.first || st.balance-n < -f.first
	if isLarge && st.waiting == nil { // a handler waits for one message at a time
		defer f.mu.Unlock()
		if w := f.session.reserve(n, f.use, func() { go f.giveReserved(id, n) }); w != nil {
			st.waiting = w
			return false
		}
		f.reserved(st, n)
		return true
	}
	before := st.balance
	st.balance -= n
	var change unread
	if f.use == answering && before > 0 { // the handler has received a part
		left := max(st.balance, 0)
		if f.mayBeRead(st) {
			left = 0
		}
		st.tail = st.tail * left / before
		change = f.setUnread(st, st.unread.all*left/before)
	}
	f.mu.Unlock()
	f.session.change(f.use, change, 0)
	return true
}

// giveReserved gives a stream credit for which memory has been reserved.
func (f *flow) giveReserved(id uint32, n int64) {
	f.mu.Lock()
	st := f.streams[id]
	if st == nil || st.ended || st.waiting == nil { // release frees the memory
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

// end forgets a stream. While its handler receives a message, its memory counts.
func (f *flow) end(id uint32) {
	f.mu.Lock()
	st := f.streams[id]
	if st == nil || st.ended {
		f.mu.Unlock()
		return
	}
	onEnd := f.markEnded(id, st)
	f.mu.Unlock()
	onEnd()
}

// markEnded returns a function that releases the memory of a stream. The caller holds mu.
func (f *flow) markEnded(id uint32, st *stream) (release func()) {
	st.ended = true
	f.expect(st, -st.expected)
	isReading, onEnd := st.isReading, st.onEnd
	if !isReading {
		delete(f.streams, id)
	}
	return func() {
		if !isReading {
			f.release(st)
		}
		if onEnd != nil {
			onEnd()
		}
	}
}

// release releases the memory of a stream.
func (f *flow) release(st *stream) {
	if st.waiting != nil {
		f.session.cancel(st.waiting)
	}
	reserved := st.reserved
	for _, c := range st.complete {
		reserved += c.reserved
	}
	f.session.change(f.use, unread{-st.unread.all, -st.unread.partial}, -reserved-sum(st.queued))
}

// close forgets all streams.
func (f *flow) close() {
	f.mu.Lock()
	f.closed, f.delayed = true, 0
	var ended []func()
	for id, st := range f.streams {
		if !st.ended {
			ended = append(ended, f.markEnded(id, st))
		}
	}
	f.mu.Unlock()
	f.session.unstall(f)
	run(ended)
}

func (f *flow) isClosed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}
