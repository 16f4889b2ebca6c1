package mux

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
)

const testUnread = 1024 * 1024

// unreadPair returns the ends of a session, of which the server has a limit.
func unreadPair(t *testing.T, limit *UnreadLimit) (client, server *Session) {
	t.Helper()
	a, b := net.Pipe()
	return startOurs(t, a, Client, nil), startOurs(t, b, Server, &Options{Unread: limit})
}

// sentUnread opens a stream and sends n bytes, which the other end doesn't read.
func sentUnread(t *testing.T, client, server *Session, n int) (opened, accepted *Stream) {
	t.Helper()
	opened, accepted = streamPair(t, client, server)
	mustWrite(t, opened, strings.Repeat("x", n))
	synctest.Wait()
	return opened, accepted
}

// mustReadBytes reads n bytes.
func mustReadBytes(t *testing.T, st *Stream, n int) {
	t.Helper()
	if got, err := io.CopyN(io.Discard, st, int64(n)); err != nil {
		t.Errorf("%d of %d bytes read: %v", got, n, err)
	}
}

// mustFail checks that an operation fails because of testUnread.
func mustFail(t *testing.T, operation string, err error) {
	t.Helper()
	if !errors.Is(err, ErrReset) || !strings.Contains(err.Error(), "unread data takes more than 1048576 bytes of memory") {
		t.Errorf("%s = %v, want ErrReset and the limit", operation, err)
	}
}

// mustBeUnused checks that no memory counts any more.
func mustBeUnused(t *testing.T, name string, limit *UnreadLimit, sessions ...*Session) {
	t.Helper()
	synctest.Wait()
	for _, s := range sessions {
		if n := s.unread.Load(); n != 0 {
			t.Errorf("%s: %d bytes of the session count, want 0", name, n)
		}
	}
	if n := limit.used.Load(); n != 0 {
		t.Errorf("%s: %d bytes count, want 0", name, n)
	}
}

// Beyond the limit, the largest stream is reset, and the others lose nothing.
func TestUnreadLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := NewUnreadLimit(testUnread)
		client, server := unreadPair(t, limit)
		small, smallPeer := sentUnread(t, client, server, 1000)
		large, largePeer := sentUnread(t, client, server, initialWindow)
		others := make([]*Stream, 6)
		for i := range others {
			_, others[i] = sentUnread(t, client, server, initialWindow/2)
		}
		if got := server.Stats(); got.Evicted != 0 || got.Streams != 8 {
			t.Fatalf("below the limit: %d streams are evicted, %d left, want 0, 8", got.Evicted, got.Streams)
		}
		_, last := sentUnread(t, client, server, initialWindow/2)
		if got := server.Stats(); got.Evicted != 1 || got.Streams != 8 || server.Err() != nil {
			t.Errorf("beyond the limit: %d streams are evicted, %d left, session error %v, want 1, 8, nil", got.Evicted, got.Streams, server.Err())
		}
		_, err := largePeer.Read(make([]byte, 1))
		mustFail(t, "Read", err)
		_, err = largePeer.Write([]byte("x"))
		mustFail(t, "Write", err)
		if _, err := large.Read(make([]byte, 1)); !errors.Is(err, ErrReset) {
			t.Errorf("the peer's Read = %v, want ErrReset", err)
		}
		_ = largePeer.Close()
		for _, st := range others {
			mustReadBytes(t, st, initialWindow/2)
		}
		mustReadBytes(t, last, initialWindow/2)
		mustReadBytes(t, smallPeer, 1000)
		mustWrite(t, smallPeer, "reply")
		mustRead(t, small, "reply")
		mustBeUnused(t, "all read", limit, server)
	})
}

// The memory counts, also of bytes that arrive in small frames, and not only the bytes.
func TestUnreadLimitCountsMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := NewUnreadLimit(testUnread)
		client, server := unreadPair(t, limit)
		for _, size := range []int{1, 513, 4097} {
			for range 8 {
				opened, _ := streamPair(t, client, server)
				for range min(initialWindow, 300*size) / size {
					_, _ = opened.Write(make([]byte, size)) // fails if the stream is evicted
				}
			}
			synctest.Wait()
			memory := 0
			for _, st := range server.streams {
				for c := st.recv.head; c != nil; c = c.next {
					memory += len(c.data) + chunkHeader
				}
			}
			if counted := int(server.unread.Load()); counted != memory || memory > testUnread+unreadStep {
				t.Errorf("frames of %d bytes: %d bytes of memory count of %d, want all, and at most %d", size, counted, memory, testUnread)
			}
		}
		if server.Stats().Evicted == 0 {
			t.Error("no stream was evicted")
		}
	})
}

// Of the sessions with a common limit, the largest loses streams, not the one that receives.
func TestUnreadLimitIsShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := NewUnreadLimit(testUnread)
		greedyClient, greedy := unreadPair(t, limit)
		honestClient, honest := unreadPair(t, limit)
		for range 6 {
			sentUnread(t, greedyClient, greedy, initialWindow/2)
		}
		var streams []*Stream
		for range 3 {
			_, st := sentUnread(t, honestClient, honest, initialWindow/2)
			streams = append(streams, st)
		}
		if g, h := greedy.Stats().Evicted, honest.Stats().Evicted; g == 0 || h != 0 {
			t.Errorf("evicted: %d of the session with more, %d of the other, want some, 0", g, h)
		}
		for _, st := range streams {
			mustReadBytes(t, st, initialWindow/2)
		}
		mustBeUnused(t, "all read", &UnreadLimit{}, honest)
		_ = greedy.Close()
		_ = honest.Close()
		if len(limit.sessions) != 0 {
			t.Errorf("%d sessions share the limit after their end, want 0", len(limit.sessions))
		}
	})
}

// A stream that has ended in both directions can lose its unread bytes, but its Read doesn't
// return io.EOF then.
func TestUnreadLimitOfEndedStreams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := NewUnreadLimit(testUnread)
		client, server := unreadPair(t, limit)
		var ended []*Stream
		sizes := []int{initialWindow, initialWindow, initialWindow, initialWindow, initialWindow / 2}
		for _, size := range sizes {
			a, b := sentUnread(t, client, server, size)
			_ = a.CloseWrite()
			_ = b.CloseWrite()
			synctest.Wait()
			ended = append(ended, b)
		}
		if got := server.Stats(); got.Streams != 0 || got.Evicted == 0 || server.unread.Load() > testUnread+unreadStep {
			t.Errorf("%d streams left, %d evicted, %d bytes count, want 0, some, about %d", got.Streams, got.Evicted, server.unread.Load(), testUnread)
		}
		failed := 0
		for i, st := range ended {
			if got, err := io.ReadAll(st); err != nil {
				mustFail(t, "ReadAll", err)
				failed++
			} else if len(got) != sizes[i] {
				t.Errorf("ReadAll = %d bytes, want %d or an error", len(got), sizes[i])
			}
			_ = st.Close()
		}
		if failed != int(server.Stats().Evicted) || len(server.unclosed) != 0 {
			t.Errorf("%d streams failed, %d are left, want %d, 0", failed, len(server.unclosed), server.Stats().Evicted)
		}
		mustBeUnused(t, "all closed", limit, server)
	})
}

// However a stream or its session ends, its memory doesn't count any more.
func TestUnreadRelease(t *testing.T) {
	t.Parallel()
	closed := func(_, _ *Session, _, b *Stream) { _ = b.Close() }
	for name, end := range map[string]func(client, server *Session, a, b *Stream){
		"Read":         func(_, _ *Session, _, b *Stream) { _, _ = io.ReadFull(b, make([]byte, initialWindow)) },
		"Close":        closed,
		"Reset":        func(_, _ *Session, _, b *Stream) { _ = b.Reset() },
		"peer's Reset": func(_, _ *Session, a, _ *Stream) { _ = a.Reset() },
		"ForwardTo":    func(_, _ *Session, _, b *Stream) { b.ForwardTo(&discard{}, func(error) {}) },
		"session, Read": func(client, _ *Session, _, b *Stream) {
			_ = client.Close()
			_, _ = io.Copy(io.Discard, b)
		},
		"session, Close": func(_, server *Session, a, b *Stream) {
			_ = server.Close()
			closed(nil, nil, a, b)
		},
		"Shutdown": func(_, server *Session, _, b *Stream) {
			_ = b.Close()
			_ = server.Shutdown(context.Background())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limit := NewUnreadLimit(testUnread)
				client, server := unreadPair(t, limit)
				a, b := sentUnread(t, client, server, initialWindow)
				if strings.HasPrefix(name, "S") || strings.HasPrefix(name, "session") { // one that isn't accepted, too
					unaccepted, err := client.Open(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					mustWrite(t, unaccepted, strings.Repeat("x", initialWindow))
					synctest.Wait()
				}
				if limit.used.Load() < initialWindow {
					t.Fatalf("%d bytes count, want at least %d", limit.used.Load(), initialWindow)
				}
				end(client, server, a, b)
				mustBeUnused(t, name, limit, server)
			})
		})
	}
}

// abortableSink blocks in Write until Abort.
type abortableSink struct{ aborted chan struct{} }

func (*abortableSink) TryWrite([]byte) (int, error) { return 0, nil }
func (s *abortableSink) Write([]byte) (int, error)  { <-s.aborted; return 0, net.ErrClosed }
func (s *abortableSink) Abort()                     { close(s.aborted) }

// Bytes that wait for a writer count, and a stream that is evicted aborts it.
func TestUnreadLimitOfForwarding(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := NewUnreadLimit(testUnread)
		client, server := unreadPair(t, limit)
		ended := make(chan error, 5)
		for range cap(ended) {
			_, b := streamPair(t, client, server)
			b.ForwardTo(&abortableSink{make(chan struct{})}, func(err error) { ended <- err })
		}
		for _, st := range client.streams {
			_, _ = st.Write(make([]byte, initialWindow)) // fails if the stream is evicted
			synctest.Wait()
		}
		if n := server.Stats().Evicted; n == 0 || n == int64(cap(ended)) || limit.used.Load() > testUnread {
			t.Errorf("%d streams are evicted, %d bytes count, want some, at most %d", n, limit.used.Load(), testUnread)
		}
		mustFail(t, "ForwardTo", <-ended)
		_ = server.Close()
		mustBeUnused(t, "session", limit, server)
	})
}
