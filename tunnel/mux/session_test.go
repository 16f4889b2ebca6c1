package mux

import (
	"bytes"
	"context"
	"errors"
	"math"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Open blocks while the peer hasn't accepted 256 streams.
func TestOpenBlocks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := pipePair(t, nil)
		for range acceptBacklog {
			if _, err := client.Open(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		opened := make(chan error, 1)
		open := func(ctx context.Context) {
			go func() {
				_, err := client.Open(ctx)
				opened <- err
			}()
			synctest.Wait()
			if len(opened) > 0 {
				t.Fatalf("Open = %v with %d streams that aren't accepted, want it to block", <-opened, acceptBacklog)
			}
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		open(ctx)
		cause := errors.New("cause")
		cancel(cause)
		if err := <-opened; !errors.Is(err, cause) {
			t.Errorf("Open = %v, want the cause of its context", err)
		}
		open(t.Context())
		if _, err := server.Accept(); err != nil {
			t.Fatal(err)
		}
		if err := <-opened; err != nil {
			t.Errorf("Open after Accept = %v, want nil", err)
		}
		open(t.Context())
		_ = server.GoAway()
		if err := <-opened; !errors.Is(err, ErrRemoteGoAway) {
			t.Errorf("Open = %v, want ErrRemoteGoAway", err)
		}
	})
}

// The peer may reset a stream instead of accepting it; another Open can then proceed.
func TestOpenAfterReset(t *testing.T) {
	t.Parallel()
	client, p := startWithRawPeer(t, Client, nil)
	for range acceptBacklog {
		if _, err := client.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	p.send(typeWindowUpdate, flagRST, 7, 0)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := client.Open(ctx); err != nil {
		t.Errorf("Open after a reset = %v, want nil", err)
	}
}

func TestOpenErrors(t *testing.T) {
	t.Parallel()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tt := range map[string]struct {
		before func(client, server *Session)
		want   error
	}{
		"context":       {func(_, _ *Session) {}, context.Canceled},
		"GoAway":        {func(_, server *Session) { _ = server.GoAway() }, ErrRemoteGoAway},
		"Shutdown":      {func(client, _ *Session) { client.drain() }, net.ErrClosed},
		"Close":         {func(client, _ *Session) { _ = client.Close() }, net.ErrClosed},
		"ID exhaustion": {func(client, _ *Session) { client.nextID = math.MaxUint32 }, errStreamsExhausted},
	} {
		client, server := sessionPair(t, nil)
		tt.before(client, server)
		if name == "GoAway" {
			eventually(t, "GoAway to arrive", func() bool { return client.Stats().GoingAway })
		}
		ctx := t.Context()
		if name == "context" {
			ctx = cancelled
		}
		if _, err := client.Open(ctx); !errors.Is(err, tt.want) {
			t.Errorf("%s: Open = %v, want %v", name, err, tt.want)
		}
		if n := len(client.opening); n != 0 {
			t.Errorf("%s: %d streams count as not accepted, want 0", name, n)
		}
	}
}

// Each role can use its last ID, and no further one.
func TestLastID(t *testing.T) {
	t.Parallel()
	for role, last := range map[Role]uint32{Client: math.MaxUint32 - 2, Server: math.MaxUint32 - 3} {
		s, _ := startWithRawPeer(t, role, nil)
		s.nextID = last
		if st, err := s.Open(t.Context()); err != nil || st.ID() != last {
			t.Errorf("Open = %v, want stream %d", err, last)
		}
		if _, err := s.Open(t.Context()); !errors.Is(err, errStreamsExhausted) {
			t.Errorf("Open = %v, want errStreamsExhausted", err)
		}
	}
}

func TestNewErrors(t *testing.T) {
	t.Parallel()
	if _, err := New(nil, Client, &Options{Window: initialWindow - 1}); err == nil {
		t.Errorf("New with a window of %d bytes = nil, want an error", initialWindow-1)
	}
}

// Streams that were opened before GoAway aren't affected; later ones are reset.
func TestGoAwayRefusesStreams(t *testing.T) {
	t.Parallel()
	s, p := startWithRawPeer(t, Server, nil)
	p.send(typeWindowUpdate, flagSYN, 1, 0)
	p.roundTrip()
	for range 2 {
		if err := s.GoAway(); err != nil {
			t.Fatal(err)
		}
	}
	p.expect(typeGoAway, 0, 0, goAwayNormal)
	p.sendData(flagSYN, 3, "x")
	p.expect(typeWindowUpdate, flagRST, 3, 0)
	st, err := s.Accept()
	if err != nil || st.ID() != 1 {
		t.Fatalf("Accept = %v, want stream 1", err)
	}
	p.expect(typeWindowUpdate, flagACK, 1, 0)
	mustWrite(t, st, "x")
	p.expect(typeData, 0, 1, 1)
	_ = s.Close()
	if err := s.GoAway(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("GoAway after Close = %v, want net.ErrClosed", err)
	}
}

func TestSameRoles(t *testing.T) {
	t.Parallel()
	for _, role := range []Role{Client, Server} {
		c1, c2 := tcpPair(t)
		a, b := startOurs(t, c1, role, nil), startOurs(t, c2, role, nil)
		streamPair(t, a, b)
		if _, err := b.Open(t.Context()); err == nil {
			t.Errorf("Open with two %vs = nil, want an error", role)
		}
		if pe := protocolError(t, b); pe.ByPeer || !strings.Contains(pe.Error(), role.String()) {
			t.Errorf("Err() = %v, want that both ends are the %v", pe, role)
		}
		if pe := protocolError(t, a); !pe.ByPeer || !strings.Contains(pe.Error(), role.String()) {
			t.Errorf("the other end's Err() = %v, want that the peer reports an error", pe)
		}
	}
}

func TestCloseWithManyReaders(t *testing.T) {
	t.Parallel()
	client, server := sessionPair(t, nil)
	var readers sync.WaitGroup
	for range 2000 {
		a, b := streamPair(t, client, server)
		readers.Go(func() { _, _ = a.Read(make([]byte, 1)) })
		readers.Go(func() { _, _ = b.Read(make([]byte, 1)) })
	}
	within(t, 2*time.Second, "Close", func() {
		_ = client.Close()
		_ = waitErr(t, server)
		readers.Wait()
	})
}

func TestResetFlood(t *testing.T) {
	t.Parallel()
	s, p := startWithRawPeer(t, Server, nil)
	h := newHeader(typeWindowUpdate, flagSYN|flagRST, 1, 0)
	p.write(bytes.Repeat(h[:], 100_000))
	_ = p.conn.Close()
	within(t, 3*time.Second, "the end of the session", func() { _ = waitErr(t, s) })
	if st, err := s.Accept(); err == nil {
		t.Errorf("Accept = stream %d, want an error", st.ID())
	}
}

func TestMaxStreams(t *testing.T) {
	t.Parallel()
	s, p := startWithRawPeer(t, Server, &Options{MaxStreams: 10})
	for i := range uint32(11) {
		p.send(typeWindowUpdate, flagSYN, 2*i+1, 0)
	}
	p.expect(typeWindowUpdate, flagRST, 21, 0)
	if n := s.Stats().Streams; n != 10 {
		t.Errorf("%d streams, want 10", n)
	}
	p.send(typeWindowUpdate, flagRST, 9, 0)
	p.send(typeWindowUpdate, flagSYN, 23, 0) // has room now
	p.send(typeWindowUpdate, flagSYN, 25, 0)
	p.expect(typeWindowUpdate, flagRST, 25, 0)
	p.roundTrip()
}

// A session stops reading from a peer that opens and closes streams but receives no
// ACKs and FINs, before these use much memory.
func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	a, peer := net.Pipe()
	defer peer.Close()
	s := startOurs(t, a, Server, nil)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		for {
			st, err := s.Accept()
			if err != nil {
				return
			}
			_ = st.Close()
			closed <- struct{}{}
		}
	}()
	const answers = 2 * headerSize // ACK and FIN of one stream
	for i := range uint32(10_000) {
		_ = peer.SetWriteDeadline(time.Now().Add(time.Second))
		h := newHeader(typeWindowUpdate, flagSYN|flagFIN, 2*i+1, 0)
		if _, err := peer.Write(h[:]); err != nil {
			break // the session doesn't read
		}
		select {
		case <-closed:
		case <-time.After(time.Second): // the session blocks before it adds the stream
		}
	}
	if n := s.conn.Queued(); n == 0 || n > maxQueued+2*answers {
		t.Errorf("%d bytes are queued, want at most %d", n, maxQueued+2*answers)
	}
	_ = s.Close()
	for range closed {
	}
}

// Streams beyond acceptBacklog are refused.
func TestBacklog(t *testing.T) {
	t.Parallel()
	s, p := startWithRawPeer(t, Server, nil)
	for i := range uint32(acceptBacklog + 1) {
		p.send(typeWindowUpdate, flagSYN, 2*i+1, 0)
	}
	p.expect(typeWindowUpdate, flagRST, 2*acceptBacklog+1, 0)
	for i := range uint32(acceptBacklog) {
		if st, err := s.Accept(); err != nil || st.ID() != 2*i+1 {
			t.Fatalf("Accept = %v, want stream %d", err, 2*i+1)
		}
		p.expect(typeWindowUpdate, flagACK, 2*i+1, 0)
	}
}

// Of the streams that only this end has closed, the session keeps the newest
// maxLingering.
func TestLingering(t *testing.T) {
	t.Parallel()
	const more = 100
	client, p := startWithRawPeer(t, Client, nil)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		for range maxLingering + more {
			st, err := client.Open(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			_ = st.Close()
		}
	}()
	var resets []uint32
	for len(resets) < more {
		switch h, _ := p.next(); h.flags() {
		case flagSYN:
			p.send(typeWindowUpdate, flagACK, h.stream(), 0)
		case flagRST:
			resets = append(resets, h.stream())
		}
	}
	for i, id := range resets {
		if want := uint32(2*i + 1); id != want {
			t.Fatalf("reset %d is for stream %d, want the oldest, %d", i, id, want)
		}
	}
	<-closed // the session forgets a stream after it has sent the RST
	p.roundTripAfter(flagFIN)
	if n := client.Stats().Streams; n != maxLingering {
		t.Errorf("%d streams, want %d", n, maxLingering)
	}
}

// roundTripAfter is roundTrip that skips frames with the given flag.
func (p *rawPeer) roundTripAfter(flag uint16) {
	p.t.Helper()
	p.send(typePing, flagSYN, 0, 78)
	for {
		switch h, _ := p.next(); {
		case h == newHeader(typePing, flagACK, 0, 78):
			return
		case h.flags() != flag:
			p.t.Fatalf("frame %v", h)
		}
	}
}

func TestLingeringForgetsEndedStreams(t *testing.T) {
	t.Parallel()
	client, server := sessionPair(t, nil)
	for range 200 {
		a, b := streamPair(t, client, server)
		_ = a.Close()
		_ = b.Close()
		eventually(t, "the end of a stream", func() bool { return client.Stats().Streams == 0 })
	}
	client.mu.Lock()
	defer client.mu.Unlock()
	if n := len(client.lingering); n > minSweep {
		t.Errorf("the session holds %d streams that have ended, want at most %d", n, minSweep)
	}
}
