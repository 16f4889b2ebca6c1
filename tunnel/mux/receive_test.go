package mux

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A peer that doesn't speak yamux is recognized at its first wrong byte, and the
// error has the bytes that it sent.
func TestReceiveNotYamux(t *testing.T) {
	t.Parallel()
	onStream0 := newHeader(typeWindowUpdate, flagSYN, 0, 0)
	for name, tt := range map[string]struct{ sent, want string }{
		"version":  {"H", "invalid protocol version: 72"},
		"line":     {"HTTP/1.1 400 Bad Request\r\n", "invalid protocol version: 72"},
		"long":     {strings.Repeat("x", 1000), "invalid protocol version: 120"},
		"type":     {"\x00\x04", "invalid message type: 4"},
		"stream 0": {string(onStream0[:]), "a frame of type 1 on stream 0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p := startWithRawPeer(t, Server, nil)
			p.write([]byte(tt.sent))
			pe := protocolError(t, s)
			want := tt.sent[:min(len(tt.sent), maxReceived)]
			if !strings.Contains(pe.Error(), tt.want) || pe.ByPeer || string(pe.Received) != want {
				t.Errorf("Err() = %v with %q, want %q with %q", pe, pe.Received, tt.want, want)
			}
			if _, err := p.conn.Read(make([]byte, 1)); err == nil {
				t.Error("the session writes to a peer that doesn't speak yamux")
			}
		})
	}
}

// A peer that breaks the protocol gets GoAway with code 1.
func TestReceiveProtocolErrors(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		opts *Options
		send func(p *rawPeer)
		want string
	}{
		"window exceeded before a body": {nil, func(p *rawPeer) { p.send(typeData, flagSYN, 1, initialWindow+1) }, "recv window exceeded"},
		"window exceeded by two frames": {nil, func(p *rawPeer) {
			p.sendData(flagSYN, 1, strings.Repeat("x", initialWindow))
			p.send(typeData, 0, 1, 1)
		}, "recv window exceeded"},
		"fixed window exceeded": {&Options{Window: 1 << 20}, func(p *rawPeer) { p.send(typeData, flagSYN, 1, 1<<20+1) }, "recv window exceeded"},
		"duplicate SYN": {nil, func(p *rawPeer) {
			p.send(typeWindowUpdate, flagSYN, 1, 0)
			p.send(typeData, flagSYN, 1, 0)
		}, "both ends have the yamux role server"},
		"FIN twice": {nil, func(p *rawPeer) {
			p.send(typeWindowUpdate, flagSYN|flagFIN, 1, 0)
			p.send(typeWindowUpdate, flagFIN, 1, 0)
		}, "unexpected flag"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p := startWithRawPeer(t, Server, tt.opts)
			tt.send(p)
			p.expect(typeGoAway, 0, 0, goAwayProtocol)
			if pe := protocolError(t, s); !strings.Contains(pe.Error(), tt.want) || pe.ByPeer || pe.Received != nil {
				t.Errorf("Err() = %v, want %q", pe, tt.want)
			}
		})
	}
}

// The peer may reuse the ID of a stream that has ended.
func TestReceiveReusedID(t *testing.T) {
	t.Parallel()
	s, p := startWithRawPeer(t, Server, nil)
	for range 3 {
		p.sendData(flagSYN|flagFIN, 1, "x")
		st, err := s.Accept()
		if err != nil {
			t.Fatal(err)
		}
		mustRead(t, st, "x")
		_ = st.Close()
		p.expect(typeWindowUpdate, flagACK, 1, 0)
		p.expect(typeWindowUpdate, flagFIN, 1, 0)
	}
}

func TestReceiveGoAway(t *testing.T) {
	t.Parallel()
	for code, want := range map[uint32]string{
		goAwayProtocol: "it may have the yamux role client too",
		goAwayInternal: "internal error",
		7:              "unknown code 7",
	} {
		s, p := startWithRawPeer(t, Client, nil)
		p.send(typeGoAway, 0, 0, goAwayNormal)
		p.send(typeGoAway, 0, 0, goAwayNormal) // the second changes nothing
		p.roundTrip()
		if !s.Stats().GoingAway {
			t.Error("GoingAway = false after GoAway, want true")
		}
		p.send(typeGoAway, 0, 0, code)
		if pe := protocolError(t, s); !pe.ByPeer || !strings.Contains(pe.Error(), want) {
			t.Errorf("Err() = %v, want %q by the peer", pe, want)
		}
	}
}

// A peer that echoes bytes is recognized by a Ping and by a SYN.
func TestReceiveEcho(t *testing.T) {
	t.Parallel()
	for want, send := range map[string]func(*Session){
		"echoes the bytes that it receives": func(s *Session) { _, _ = s.Ping(t.Context()) },
		"yamux role server":                 func(s *Session) { _, _ = s.Open(t.Context()) },
	} {
		s, p := startWithRawPeer(t, Server, nil)
		echoed := make(chan struct{})
		go func() {
			_, _ = io.Copy(p.conn, p.conn)
			close(echoed)
		}()
		send(s)
		if pe := protocolError(t, s); !strings.Contains(pe.Error(), want) {
			t.Errorf("Err() = %v, want %q", pe, want)
		}
		<-echoed
	}
}

func TestPing(t *testing.T) {
	t.Parallel()
	s, p := startWithRawPeer(t, Client, nil)
	p.send(typePing, flagACK, 0, 5) // no Ping is pending
	done := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := s.Ping(t.Context())
			done <- err
		}()
	}
	first, _ := p.next()
	second, _ := p.next()
	if first.flags() != flagSYN || second.length() != first.length()+1 {
		t.Errorf("the Pings are %v and %v, want consecutive IDs", first, second)
	}
	p.send(typePing, flagSYN, 0, first.length()+5) // the peer's own
	p.expect(typePing, flagACK, 0, first.length()+5)
	for _, h := range []header{second, first} {
		p.send(typePing, flagACK, 0, h.length())
		if err := <-done; err != nil {
			t.Errorf("Ping = %v, want nil", err)
		}
	}
	if n := len(s.pings); n != 0 {
		t.Errorf("%d Pings are pending, want 0", n)
	}
}

// A session stops reading from a peer that floods Pings and reads nothing. Once the
// peer reads, it receives all replies.
func TestReceivePingFlood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const pings = 10_000
		conn, peer := net.Pipe()
		s := startOurs(t, conn, Server, nil)
		p := &rawPeer{t, peer}
		sent := 0
		go func() {
			for i := range uint32(pings) {
				p.send(typePing, flagSYN, 0, i)
				sent++
			}
		}()
		synctest.Wait()
		if limit := 2*maxReplies + 4096/headerSize + 2; sent > limit { // one queue is being sent
			t.Errorf("%d Pings are read from a peer that reads nothing, want at most %d", sent, limit)
		}
		if n := s.conn.Queued(); n > maxReplies*headerSize {
			t.Errorf("%d bytes are queued, want at most %d", n, maxReplies*headerSize)
		}
		for i := range uint32(pings) {
			p.expect(typePing, flagACK, 0, i)
		}
		_ = s.Close()
	})
}

// Resets of refused streams count as replies.
func TestReceiveRefusedFlood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		conn, peer := net.Pipe()
		s := startOurs(t, conn, Server, &Options{MaxStreams: 1})
		p := &rawPeer{t, peer}
		go func() {
			for i := range uint32(10_000) {
				h := newHeader(typeWindowUpdate, flagSYN, 2*i+1, 0)
				if _, err := peer.Write(h[:]); err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		if n := s.conn.Queued(); n > maxReplies*headerSize {
			t.Errorf("%d bytes are queued, want at most %d", n, maxReplies*headerSize)
		}
		p.expect(typeWindowUpdate, flagRST, 3, 0)
		within(t, closeWait, "Close", func() { _ = s.Close() })
	})
}

// Frames for unknown streams are skipped with their bodies.
func TestReceiveUnknownStreams(t *testing.T) {
	t.Parallel()
	s, p := startWithRawPeer(t, Server, nil)
	body := strings.Repeat("x", 100_000)
	p.sendData(0, 1, body)
	p.sendData(flagFIN, 2, body)
	p.sendData(flagRST, 3, body)
	p.sendData(flagSYN|flagRST, 5, body)
	p.send(typeWindowUpdate, flagACK, 7, 1)
	p.roundTrip()
	if got := s.Stats(); got != (Stats{}) {
		t.Errorf("Stats() = %+v, want nothing", got)
	}
}

// RST takes effect before the body of its frame, which may exceed the window.
func TestReceiveResetWithBody(t *testing.T) {
	t.Parallel()
	s, p := startWithRawPeer(t, Server, nil)
	p.sendData(flagSYN, 1, "unread")
	st, err := s.Accept()
	if err != nil {
		t.Fatal(err)
	}
	p.expect(typeWindowUpdate, flagACK, 1, 0)
	p.sendData(flagRST, 1, strings.Repeat("x", 2*initialWindow))
	p.roundTrip()
	if n, err := st.Read(make([]byte, 9)); n != 0 || !errors.Is(err, ErrReset) {
		t.Errorf("Read = %d, %v, want 0, ErrReset", n, err)
	}
}

// Accept skips a stream that was reset before.
func TestReceiveResetBeforeAccept(t *testing.T) {
	t.Parallel()
	s, p := startWithRawPeer(t, Server, nil)
	p.send(typeWindowUpdate, flagSYN, 1, 0)
	p.send(typeWindowUpdate, flagSYN, 3, 0)
	p.send(typeWindowUpdate, flagRST, 1, 0)
	p.roundTrip()
	if st, err := s.Accept(); err != nil || st.ID() != 3 {
		t.Errorf("Accept = stream %d, %v, want 3", st.ID(), err)
	}
}

// Data frames may have any flags and arrive byte by byte.
func TestReceiveByteByByte(t *testing.T) {
	t.Parallel()
	s, p := startWithRawPeer(t, Server, nil)
	var frames bytes.Buffer
	for i, text := range []string{"first ", "second ", "third"} {
		h := newHeader(typeData, []uint16{flagSYN, 0, flagFIN}[i], 1, uint32(len(text)))
		frames.Write(h[:])
		frames.WriteString(text)
	}
	for _, b := range frames.Bytes() {
		p.write([]byte{b})
	}
	st, err := s.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(st); string(got) != "first second third" || err != nil {
		t.Errorf("ReadAll = %q, %v, want first second third", got, err)
	}
}

// SYN and ACK contain the first window update, and a Write uses exactly the window
// that the peer grants.
func TestReceiveUpdates(t *testing.T) {
	t.Parallel()
	s, p := startWithRawPeer(t, Client, &Options{Window: 1 << 20})
	st, err := s.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p.expect(typeWindowUpdate, flagSYN, 1, 1<<20-initialWindow)
	p.send(typeWindowUpdate, flagSYN, 2, 0)
	if _, err := s.Accept(); err != nil {
		t.Fatal(err)
	}
	p.expect(typeWindowUpdate, flagACK, 2, 1<<20-initialWindow)
	go func() { _, _ = st.Write(make([]byte, 2*initialWindow)) }()
	p.expect(typeData, 0, 1, initialWindow)
	p.send(typeWindowUpdate, flagACK, 1, 5)
	p.expect(typeData, 0, 1, 5)
	p.send(typeWindowUpdate, 0, 1, initialWindow)
	p.expect(typeData, 0, 1, initialWindow-5)
}

// A send window doesn't overflow.
func TestReceiveTooLargeUpdate(t *testing.T) {
	t.Parallel()
	s, p := startWithRawPeer(t, Client, nil)
	st, err := s.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p.expect(typeWindowUpdate, flagSYN, 1, 0)
	p.send(typeWindowUpdate, flagACK, 1, 1<<32-initialWindow) // the sum is 1<<32
	p.roundTrip()
	_ = st.SetDeadline(time.Now().Add(5 * time.Second))
	mustWrite(t, st, "x")
	p.expect(typeData, 0, 1, 1)
}

// The first bytes of a large body, which are read with its header, are delivered together with
// others, and those of a small one as they arrive.
func TestReceiveLargeBody(t *testing.T) {
	t.Parallel()
	first := make(chan int, 100)
	s, p := startWithRawPeer(t, Server, &Options{Observe: func(uint32, bool) *StreamObserver {
		return &StreamObserver{Received: func(p []byte) { first <- len(p) }}
	}})
	large, buffered := strings.Repeat("x", 64<<10), s.br.Size()-headerSize
	p.sendData(flagSYN, 1, large)
	if n := <-first; n <= buffered {
		t.Errorf("%d bytes are delivered at first, want more than the %d that were read with the header", n, buffered)
	}
	st, err := s.Accept()
	if err != nil {
		t.Fatal(err)
	}
	mustRead(t, st, large)
	p.expect(typeWindowUpdate, flagACK, 1, 0)
	p.send(typeData, 0, 1, 100)
	p.write([]byte("small"))
	mustRead(t, st, "small")
}
