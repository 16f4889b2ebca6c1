package ws

import (
	"runtime"
	"sync"
	"time"
)

const (
	// smallWrite is the largest write, in bytes, that may be joined with others.
	smallWrite = 8 * 1024

	// maxQueued bounds what WriteFrame queues. Beyond that it waits for the
	// socket.
	maxQueued = 64 * 1024

	// burstGap is the longest time between two writes of a burst.
	burstGap = 50 * time.Microsecond
)

// queue holds small writes that follow closely on each other, to be sent as one
// message: each alone costs a system call at this end and a wake-up at the other.
// The first of a burst is sent by itself at once. Those that follow are sent
// together by another goroutine as soon as that runs.
type queue struct {
	mu       sync.Mutex
	pending  []byte
	spare    []byte // becomes pending at the next take
	flushing bool   // a goroutine is about to send pending
	sent     time.Time
}

// hold queues a and b if they are small and part of a burst. It returns whether
// it did, and whether the caller must start a flush.
func (q *queue) hold(a, b []byte) (held, start bool) {
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

// add queues p. It returns whether the caller must start a flush.
func (q *queue) add(p []byte) (start bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pending = append(q.pending, p...)
	start = !q.flushing
	q.flushing = true
	return start
}

// take returns the pending bytes, which are valid until the next take. The caller
// holds the token of writing.
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

// stop ends a flush that can't send. The pending bytes stay.
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

// noteSent records when the last message was sent.
func (q *queue) noteSent() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sent = time.Now()
}

// flush sends the queue until it is empty. It gives up its turn after each
// message, so that control frames come between.
func (c *Conn) flush() {
	for {
		runtime.Gosched() // goroutines that are about to write go first
		sent, err := c.flushOnce()
		if err != nil {
			c.fail(err) // there may be no later write to return it
		}
		if !sent {
			return
		}
	}
}

// flushOnce sends the queue as one message. It returns false if the flush is
// over.
func (c *Conn) flushOnce() (bool, error) {
	c.writing <- struct{}{}
	defer c.endTurn()
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
