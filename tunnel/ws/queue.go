package ws

import (
	"runtime"
	"sync"
	"time"
)

const (
	// smallWrite is the largest write, in bytes, that tryAdd queues.
	smallWrite = 8 * 1024

	// maxQueued is how many bytes tryAdd queues. With more, WriteFrame waits for the
	// socket.
	maxQueued = 64 * 1024

	// burstGap is the longest time between two writes of a burst.
	burstGap = 50 * time.Microsecond
)

// queue collects small writes in quick succession, to be sent as one message: a
// message for each would cost a system call at this end and a wake-up at the other.
// The first write of a burst is sent immediately. Another goroutine sends the others
// together as soon as it is scheduled.
type queue struct {
	mu       sync.Mutex
	pending  []byte
	spare    []byte    // the buffer that swap makes pending
	flushing bool      // a goroutine is about to send pending
	sent     time.Time // when the last message was sent
}

// tryAdd queues a and b if they are small and either part of a burst or in time for
// a pending flush. start reports whether the caller must start a flush.
func (q *queue) tryAdd(a, b []byte) (added, start bool) {
	n := len(a) + len(b)
	if n > smallWrite {
		return false, false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.flushing && time.Since(q.sent) > burstGap || len(q.pending)+n > maxQueued {
		return false, false
	}
	q.pending = append(append(q.pending, a...), b...)
	start = !q.flushing
	q.flushing = true
	return true, start
}

// add queues p, without a limit. start reports whether the caller must start a flush.
func (q *queue) add(p []byte) (start bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pending = append(q.pending, p...)
	start = !q.flushing
	q.flushing = true
	return start
}

// take removes and returns the pending bytes, which are valid until the next take.
// The caller holds the token of writing.
func (q *queue) take() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.swap()
}

// takeOrStop is take for the goroutine that flushes. An empty result tells it to
// stop.
func (q *queue) takeOrStop() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	pending := q.swap()
	q.flushing = len(pending) > 0
	return pending
}

func (q *queue) swap() []byte {
	pending := q.pending
	q.pending, q.spare = q.spare[:0], pending
	return pending
}

// stop records that a flush has given up. The pending bytes stay queued.
func (q *queue) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.flushing = false
}

func (q *queue) size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.pending)
}

// recordSent records when the last message was sent.
func (q *queue) recordSent() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sent = time.Now()
}

// flush sends the queue until it is empty. It releases the token of writing after
// each message so that control frames can be sent in between.
func (c *Conn) flush() {
	for {
		runtime.Gosched() // lets other goroutines add their writes first
		sent, err := c.flushOnce()
		if err != nil {
			c.fail(err) // no later write may return it
		}
		if !sent {
			return
		}
	}
}

// flushOnce sends the queue as one message. It returns false if the queue was empty
// or writing has failed.
func (c *Conn) flushOnce() (bool, error) {
	c.writing <- struct{}{}
	defer c.releaseWriter()
	if err := c.beginWrite(); err != nil {
		c.queue.stop()
		return false, err
	}
	pending := c.queue.takeOrStop()
	if len(pending) == 0 {
		return false, nil
	}
	if err := c.writeMessage(pending, nil); err != nil {
		c.queue.stop()
		return false, err
	}
	return true, nil
}
