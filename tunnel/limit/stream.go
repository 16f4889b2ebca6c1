package limit

import "github.com/wstun/wstun/tunnel/h2"

// stream is the flow control of an open stream.
type stream struct {
	messages h2.Messages
	balance  int64   // bytes received minus credit given
	unread   unread  // memory of frames
	tail     int64   // the part of unread with an incomplete message
	complete []chunk // of a server: messages that the handler hasn't received
	reserved int64   // for the message that is being received
	expected int64   // bytes of that, not yet received
	waiting  *waiter // for credit

	isReading bool // the handler is receiving a message
	ended     bool
	onEnd     func() // called once

	sent   h2.Messages // to a client
	queued []int64     // memory of the messages that are not yet sent
}

// chunk has messages that became complete at the same time.
type chunk struct {
	messages uint64
	memory   int64
	reserved int64
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
