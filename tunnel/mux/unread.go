package mux

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	// defaultUnread is the limit in bytes of a session without Options.Unread.
	defaultUnread = 256 * 1024 * 1024

	// unreadStep is the step in bytes in which the memory of a session counts toward
	// UnreadLimit: sessions share its counter, so changing that for each frame is slow.
	unreadStep = 64 * 1024

	// evictShare is the part of a session's memory that a search for the largest streams
	// frees at least, so that searching costs little per byte that the peer sends.
	evictShare = 64
)

// UnreadLimit limits the memory of the bytes that sessions have received and that
// nothing has read yet. Several sessions may share it.
//
// Beyond the limit, the session with the most unread bytes loses its largest streams:
// they are reset, their unread bytes are dropped, and Read, Write and
// StreamObserver.End return an error that names the limit and is ErrReset. Other streams
// aren't affected. At most 64 KiB of each session don't count.
type UnreadLimit struct {
	limit int64
	err   error        // of the streams that are reset
	used  atomic.Int64 // the memory of all sessions, each rounded down to a step

	mu       sync.Mutex // held while streams are reset; Stream.mu may be taken after it
	sessions map[*Session]struct{}
}

// NewUnreadLimit returns a limit in bytes.
func NewUnreadLimit(bytes int64) *UnreadLimit {
	return &UnreadLimit{
		limit:    bytes,
		err:      fmt.Errorf("unread data takes more than %d bytes of memory: %w", bytes, ErrReset),
		sessions: map[*Session]struct{}{},
	}
}

func (u *UnreadLimit) add(s *Session) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sessions[s] = struct{}{}
}

// remove removes a session that has ended. Its unread bytes count until they are read or
// their streams are closed.
func (u *UnreadLimit) remove(s *Session) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.sessions, s)
}

// enforce resets streams while the limit is exceeded.
func (u *UnreadLimit) enforce() {
	if u.used.Load() <= u.limit {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for u.used.Load() > u.limit && u.evict() {
	}
}

// evict resets the largest streams of the session with the most unread bytes. It returns
// false if no session has any. The caller holds u.mu.
func (u *UnreadLimit) evict() bool {
	largestFirst := func(a, b *Session) int { return cmp.Compare(b.unread.Load(), a.unread.Load()) }
	for _, s := range slices.SortedFunc(maps.Keys(u.sessions), largestFirst) {
		if s.evict(s.unread.Load()/evictShare, u.err) {
			return true
		}
	}
	return false
}

// countUnread changes the memory of the session's unread bytes by n.
func (s *Session) countUnread(n int) {
	now := s.unread.Add(int64(n))
	if steps := now/unreadStep - (now-int64(n))/unreadStep; steps != 0 {
		s.opts.Unread.used.Add(steps * unreadStep)
	}
}

// evict resets the streams with the most unread bytes until n bytes are free. It returns
// false if no stream has any.
func (s *Session) evict(n int64, reason error) bool {
	s.mu.Lock()
	streams := slices.AppendSeq(slices.Collect(maps.Values(s.streams)), maps.Keys(s.unclosed))
	s.mu.Unlock()
	type holder struct {
		stream *Stream
		memory int
	}
	var holders []holder
	for _, st := range streams {
		if memory := st.unreadMemory(); memory > 0 {
			holders = append(holders, holder{st, memory})
		}
	}
	slices.SortFunc(holders, func(a, b holder) int { return b.memory - a.memory })
	for i, h := range holders {
		if n <= 0 && i > 0 {
			break
		}
		n -= int64(h.memory)
		if s.counters.evicted.Add(1) == 1 {
			s.logger.Warn("stream reset", slog.Any("err", reason))
		}
		h.stream.evict(reason)
	}
	return len(holders) > 0
}

func (s *Stream) unreadMemory() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.recv.memory
}

// evict resets the stream and drops its unread bytes, even if it has already ended.
func (s *Stream) evict(reason error) {
	s.abort(reason, flagRST)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reset == nil { // it had ended
		s.reset = reason
		s.freeBuffer()
	}
	s.recv.forget() // the Write that abort interrupts frees the rest
}
