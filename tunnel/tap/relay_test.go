package tap

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// closeFrame is a Close frame with this status code and reason, not masked.
func closeFrame(code int, reason string) string {
	p := websocket.FormatCloseMessage(code, reason)
	return string(append([]byte{0x88, byte(len(p))}, p...))
}

func modes(t *testing.T, test func(t *testing.T, secure bool)) {
	t.Helper()
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %v", secure), func(t *testing.T) {
			t.Parallel()
			test(t, secure)
		})
	}
}

// sides runs test in both modes with a as either side, the first to end its direction.
func sides(t *testing.T, test func(t *testing.T, tp *tapped, first string, a, b net.Conn)) {
	t.Helper()
	modes(t, func(t *testing.T, secure bool) {
		t.Helper()
		for _, first := range []string{"dialing", "accepting"} {
			tp := newTapped(t, tappedOptions{secure: secure})
			a, b := tp.connect(t)
			if first == "accepting" {
				a, b = b, a
			}
			test(t, tp, first, a, b)
		}
	})
}

// Both directions receive the bytes that the other side has sent, even if they aren't
// a WebSocket's.
func TestRelayBytes(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, secure bool) {
		t.Helper()
		tp := newTapped(t, tappedOptions{secure: secure})
		dialing, accepting := tp.connect(t)
		var wg sync.WaitGroup
		var sums [4][]byte // sent and received by the dialing side, and by the accepting side
		for i, conn := range []net.Conn{dialing, accepting} {
			sent, received := sha256.New(), sha256.New()
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(uint64(i), 1))
				for range 300 {
					p := make([]byte, 1+rnd.IntN(1+rnd.IntN(100_000)))
					for j := range p {
						p[j] = byte(rnd.Uint32())
					}
					if _, err := conn.Write(p); err != nil {
						t.Error(err)
						return
					}
					_, _ = sent.Write(p)
				}
				closeWrite(conn)
				sums[2*i] = sent.Sum(nil)
			})
			wg.Go(func() {
				if _, err := io.Copy(received, conn); err != nil {
					t.Error(err)
				}
				sums[2*i+1] = received.Sum(nil)
			})
		}
		wg.Wait()
		if !bytes.Equal(sums[0], sums[3]) || !bytes.Equal(sums[2], sums[1]) {
			t.Error("received other bytes than were sent")
		}
		if reason := tunneltest.Await(t, "Down", tp.down); !strings.HasSuffix(reason, "ing side closed the connection") {
			t.Errorf("the session ended because %s", reason)
		}
	})
}

// A FIN closes one direction, and the other one goes on.
func TestRelayFIN(t *testing.T) {
	t.Parallel()
	sides(t, func(t *testing.T, tp *tapped, first string, a, b net.Conn) {
		t.Helper()
		tunneltest.Write(t, a, "last")
		closeWrite(a)
		if got, err := io.ReadAll(b); string(got) != "last" || err != nil {
			t.Errorf("%s side: read %q, %v, want last and EOF", first, got, err)
		}
		tunneltest.Write(t, b, "answer")
		tunneltest.Expect(t, a, "answer")
		closeWrite(b)
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("%s side: read error %v, want EOF", first, err)
		}
		if reason := tunneltest.Await(t, "Down", tp.down); reason != "the "+first+" side closed the connection" {
			t.Errorf("the session ended because %s", reason)
		}
	})
}

func TestRelayRST(t *testing.T) {
	t.Parallel()
	sides(t, func(t *testing.T, tp *tapped, first string, a, b net.Conn) {
		t.Helper()
		tunneltest.Write(t, a, "last")
		tunneltest.Expect(t, b, "last")
		abort(a)
		if _, err := b.Read(make([]byte, 1)); !netdiag.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s side: read error %v, want a reset", first, err)
		}
		if reason := tunneltest.Await(t, "Down", tp.down); reason != "the "+first+" side reset the connection" {
			t.Errorf("the session ended because %s", reason)
		}
	})
}

// The status of the first Close frame is the reason, and it arrives although the other
// side sends, and the sender of the frame ends the connection at once.
func TestRelayClose(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, secure bool) {
		t.Helper()
		for range 20 {
			tp := newTapped(t, tappedOptions{secure: secure})
			dialing, accepting := tp.connect(t)
			sending := make(chan struct{})
			var sent sync.WaitGroup
			sent.Go(func() {
				frame := append([]byte{0x82, 126, 0x40, 0}, make([]byte, 1<<14)...) // 16 KiB of zeros
				for i := 0; ; i++ {
					if _, err := dialing.Write(frame); err != nil {
						return
					}
					if i == 1 {
						close(sending)
					}
				}
			})
			<-sending
			frame := closeFrame(4001, "bad token")
			tunneltest.Write(t, accepting, frame)
			_ = accepting.Close() // resets the connection, because it hasn't read
			tunneltest.Expect(t, dialing, frame)
			sent.Wait()
			if reason := tunneltest.Await(t, "Down", tp.down); reason != "close 4001: bad token, from the accepting side" {
				t.Fatalf("the session ended because %s", reason)
			}
			_ = dialing.Close()
		}
	})
}

// Shutdown doesn't wait for a side that doesn't read.
func TestRelayStalled(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, secure bool) {
		t.Helper()
		tp := newTapped(t, tappedOptions{secure: secure})
		dialing, accepting := tp.connect(t)
		go func() { _, _ = io.Copy(dialing, zeros{}) }() // until Shutdown
		tunneltest.Expect(t, accepting, string(make([]byte, 1<<20)))
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			tp.Shutdown(tunneltest.Ended())
		}()
		tunneltest.Await(t, "Shutdown", ended)
		if reason := tunneltest.Await(t, "Down", tp.down); reason != "the tap was stopped" {
			t.Errorf("the session ended because %s", reason)
		}
		_, _ = io.Copy(io.Discard, accepting) // ends
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A sender whose receiver doesn't read can send at most half as much again as without the
// tap.
func TestBackpressure(t *testing.T) {
	t.Parallel()
	direct := unread(t, tunneltest.WebSockets)
	tapped := unread(t, func(tb testing.TB) (dialed, accepted *websocket.Conn) {
		tb.Helper()
		conns, done := make(chan *websocket.Conn, 1), make(chan struct{})
		target := serveWebSockets(t, websocket.Upgrader{}, func(conn *websocket.Conn) {
			conns <- conn
			<-done
		})
		t.Cleanup(func() { close(done) })
		tp := newTapped(t, tappedOptions{tap: &Tap{URL: target}})
		dialed, response, err := websocket.DefaultDialer.DialContext(tunneltest.Soon(t), "ws://"+tp.addr+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return dialed, tunneltest.Await(t, "a WebSocket", conns)
	})
	if t.Logf("%d bytes through the tap, %d without it", tapped, direct); float64(tapped) > 1.5*float64(direct) || direct == 0 {
		t.Errorf("%d bytes are accepted through the tap, %d without it", tapped, direct)
	}
}

// unread returns how many bytes a stream accepts that isn't read.
func unread(t *testing.T, connect func(testing.TB) (dialed, accepted *websocket.Conn)) (n int) {
	t.Helper()
	dialed, accepted := connect(t)
	var sessions [2]*wsmux.Session
	for i, conn := range []*websocket.Conn{dialed, accepted} {
		end, role := wsmux.Dialing, wsmux.Client
		if i == 1 {
			end, role = wsmux.Accepting, wsmux.Server
		}
		s, err := wsmux.NewSession(conn, end, role, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		sessions[i] = s
	}
	stream, err := sessions[0].Open(tunneltest.Soon(t))
	if err != nil {
		t.Fatal(err)
	}
	for p := make([]byte, 1000); ; {
		_ = stream.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		k, err := stream.Write(p)
		if n += k; err != nil {
			return n
		}
	}
}

// WebSockets of gorilla work through the tap, and the offer of compression is left out.
func TestWebSocket(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprint("keep extensions ", keep), func(t *testing.T) {
			t.Parallel()
			testWebSocket(t, keep)
		})
	}
}

func testWebSocket(t *testing.T, keep bool) {
	t.Helper()
	upgrader := websocket.Upgrader{EnableCompression: true, Subprotocols: []string{"a", "b"}}
	target := serveWebSockets(t, upgrader, func(conn *websocket.Conn) {
		for {
			kind, p, err := conn.ReadMessage()
			if err != nil {
				return
			}
			if err := conn.WriteMessage(kind, p); err != nil {
				return
			}
		}
	})
	tp := newTapped(t, tappedOptions{tap: &Tap{URL: target, KeepExtensions: keep}})
	dialer := websocket.Dialer{EnableCompression: true, Subprotocols: []string{"c", "b"}}
	conn, response, err := dialer.DialContext(tunneltest.Soon(t), "ws://"+tp.addr+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = response.Body.Close()
	if compressed := response.Header.Get("Sec-WebSocket-Extensions") != ""; compressed != keep || conn.Subprotocol() != "b" {
		t.Errorf("the response has %v", response.Header)
	}
	text := strings.Repeat("hello", 1000)
	if err := conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		t.Fatal(err)
	}
	if _, p, err := conn.ReadMessage(); err != nil || string(p) != text {
		t.Errorf("echo = %.20q, %v", p, err)
	}
	if err := conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(4002, "done"), time.Now().Add(tunneltest.Patience)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, 4002) {
		t.Errorf("read error %v, want the echoed Close", err)
	}
	_ = conn.Close()
	if reason := tunneltest.Await(t, "Down", tp.down); reason != "close 4002: done, from the dialing side" {
		t.Errorf("the session ended because %s", reason)
	}
	if err := tp.Tracer.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	want := "text messages: not yamux"
	if keep {
		want = "compressed WebSocket messages: not decoded"
	}
	if got := tp.events.events; len(got) != 1 || got[0] != want {
		t.Errorf("events %q, want %q", got, want)
	}
}
