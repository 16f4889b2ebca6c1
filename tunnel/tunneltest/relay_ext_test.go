package tunneltest_test

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, tunneltest.LingeringHTTP()) }

// echo starts a TCP echo server and returns a relay to it.
func echo(t *testing.T) *tunneltest.Relay {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	return tunneltest.NewRelay(t, ln.Addr().String())
}

func dial(t *testing.T, r *tunneltest.Relay) *net.TCPConn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

func roundTrip(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, len(text))
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != text {
		t.Fatalf("read = %q, %v, want %q", buf, err, text)
	}
}

func TestRelayForwardsBytesAndEOF(t *testing.T) {
	t.Parallel()
	c := dial(t, echo(t))
	roundTrip(t, c, "hello")
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
		t.Errorf("ReadAll after CloseWrite = %q, %v, want an empty result and nil", rest, err)
	}
}

func TestRelayFreezeHoldsBytesUntilThaw(t *testing.T) {
	t.Parallel()
	r := echo(t)
	c := dial(t, r)
	roundTrip(t, c, "hello")
	r.Freeze()
	if _, err := io.WriteString(c, "held"); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	buf := make([]byte, 4)
	if n, err := c.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("Read while frozen = %d, %v, want a timeout", n, err)
	}
	r.Thaw()
	_ = c.SetReadDeadline(time.Time{})
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "held" {
		t.Errorf("read after Thaw = %q, %v, want %q", buf, err, "held")
	}
}

func TestRelayCutResetsEvenWhileFrozen(t *testing.T) {
	t.Parallel()
	r := echo(t)
	c := dial(t, r)
	roundTrip(t, c, "hello")
	r.Freeze()
	r.Cut()
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("Read after Cut = %v, want a reset", err)
	}
	r.Thaw()
	roundTrip(t, dial(t, r), "again")
}

func TestRelayDelayAndBandwidth(t *testing.T) {
	t.Parallel()
	r := echo(t)
	r.SetDelay(20 * time.Millisecond)
	c := dial(t, r)
	start := time.Now()
	roundTrip(t, c, "hello")
	if took, least := time.Since(start), 40*time.Millisecond; took < least {
		t.Errorf("round trip with a delay took %v, want at least %v", took, least)
	}
	r.SetDelay(0)
	r.SetBandwidth(1000)
	start = time.Now()
	roundTrip(t, c, string(make([]byte, 50)))
	roundTrip(t, c, "x") // waits until the first 50 bytes have passed
	if took, least := time.Since(start), 50*time.Millisecond; took < least {
		t.Errorf("51 bytes at 1000 a second took %v, want at least %v", took, least)
	}
}

func TestWebSocketPairs(t *testing.T) {
	t.Parallel()
	dialed, accepted := tunneltest.TLSWebSockets(t)
	for _, c := range []io.Closer{dialed, accepted} {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	relayed, other, relay := tunneltest.RelayedWebSockets(t)
	if got, want := relayed.RemoteAddr().String(), relay.Addr(); got != want {
		t.Errorf("RemoteAddr() = %s, want the relay's %s", got, want)
	}
	if err := other.WriteMessage(2, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, data, err := relayed.ReadMessage(); err != nil || string(data) != "hello" {
		t.Errorf("ReadMessage = %q, %v, want hello", data, err)
	}
}

func TestRelayFreezesOneDirection(t *testing.T) {
	t.Parallel()
	r := echo(t)
	c := dial(t, r)
	roundTrip(t, c, "both ways")
	r.Freeze(tunneltest.FromTarget)
	if _, err := io.WriteString(c, "there"); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read = %d, %v in a frozen direction, want a timeout", n, err)
	}
	r.Thaw()
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 5)
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "there" {
		t.Errorf("Read = %q, %v after the thaw", buf, err)
	}
}

func TestRelayCutAfter(t *testing.T) {
	t.Parallel()
	r := echo(t)
	c := dial(t, r)
	r.CutAfter(2*5 + 3)
	roundTrip(t, c, "first")
	if _, err := io.WriteString(c, "second"); err != nil {
		t.Fatal(err)
	}
	if n, err := io.ReadFull(c, make([]byte, 6)); err == nil || n > 3 {
		t.Errorf("Read = %d, %v, want a cut", n, err)
	}
	roundTrip(t, dial(t, r), "a new connection")
}
