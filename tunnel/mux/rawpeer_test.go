package mux

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// rawPeer is a peer that sends and expects single frames.
type rawPeer struct {
	t    *testing.T
	conn net.Conn
}

// startWithRawPeer starts a session with a rawPeer over TCP.
func startWithRawPeer(t *testing.T, role Role, opts *Options) (*Session, *rawPeer) {
	t.Helper()
	a, b := tcpPair(t)
	_ = b.SetDeadline(time.Now().Add(10 * time.Second)) // so that a failing test doesn't hang
	return startOurs(t, a, role, opts), &rawPeer{t, b}
}

func (p *rawPeer) write(data []byte) {
	p.t.Helper()
	if _, err := p.conn.Write(data); err != nil {
		p.t.Fatal(err)
	}
}

func (p *rawPeer) send(kind byte, flags uint16, stream, length uint32) {
	p.t.Helper()
	h := newHeader(kind, flags, stream, length)
	p.write(h[:])
}

func (p *rawPeer) sendData(flags uint16, stream uint32, body string) {
	p.t.Helper()
	h := newHeader(typeData, flags, stream, uint32(len(body)))
	p.write(append(h[:], body...))
}

// next reads a frame.
func (p *rawPeer) next() (h header, body []byte) {
	p.t.Helper()
	if _, err := io.ReadFull(p.conn, h[:]); err != nil {
		p.t.Fatal(err)
	}
	if h.kind() == typeData {
		body = make([]byte, h.length())
		if _, err := io.ReadFull(p.conn, body); err != nil {
			p.t.Fatal(err)
		}
	}
	return h, body
}

// expect reads a frame and fails the test unless its header is the given one.
func (p *rawPeer) expect(kind byte, flags uint16, stream, length uint32) {
	p.t.Helper()
	if got, _ := p.next(); got != newHeader(kind, flags, stream, length) {
		p.t.Fatalf("the next frame is %v, want type %d, flags %d, stream %d, length %d", got, kind, flags, stream, length)
	}
}

// roundTrip waits until the session has handled all frames sent before.
func (p *rawPeer) roundTrip() {
	p.t.Helper()
	p.send(typePing, flagSYN, 0, 77)
	p.expect(typePing, flagACK, 0, 77)
}

// waitErr waits until s ends and returns Err.
func waitErr(t *testing.T, s *Session) error {
	t.Helper()
	select {
	case <-s.Done():
	case <-time.After(5 * time.Second):
		t.Fatal("the session doesn't end")
	}
	return s.Err()
}

// protocolError waits until s ends and returns Err, which must be a ProtocolError.
func protocolError(t *testing.T, s *Session) *ProtocolError {
	t.Helper()
	err := waitErr(t, s)
	pe, ok := errors.AsType[*ProtocolError](err)
	if !ok {
		t.Fatalf("Err() = %v, want a ProtocolError", err)
	}
	return pe
}

// pipePair returns the two ends of a session over net.Pipe, for use with
// testing/synctest.
func pipePair(tb testing.TB, opts *Options) (client, server *Session) {
	tb.Helper()
	a, b := net.Pipe()
	return startOurs(tb, a, Client, opts), startOurs(tb, b, Server, opts)
}

func mustWrite(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
}

func mustRead(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v, want %q", got[:n], err, want)
	}
}

// within fails the test unless f returns within limit.
func within(t *testing.T, limit time.Duration, name string, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if took := time.Since(start); took > limit {
		t.Errorf("%s took %v, want at most %v", name, took, limit)
	}
}
