package wsmux_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// newSession starts a session that ends with the test.
func newSession(tb testing.TB, ws *websocket.Conn, role wsmux.Role) *wsmux.Session {
	tb.Helper()
	return newSessionWith(tb, ws, role, nil)
}

func newSessionWith(tb testing.TB, ws *websocket.Conn, role wsmux.Role, opts *wsmux.Options) *wsmux.Session {
	tb.Helper()
	s, err := wsmux.NewSession(ws, role, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

// sessions returns the two ends of a session.
func sessions(tb testing.TB) (client, server *wsmux.Session) {
	tb.Helper()
	return sessionsWith(tb, nil)
}

func sessionsWith(tb testing.TB, opts *wsmux.Options) (client, server *wsmux.Session) {
	tb.Helper()
	dialed, accepted := tunneltest.WebSockets(tb)
	return newSessionWith(tb, dialed, wsmux.Client, opts), newSessionWith(tb, accepted, wsmux.Server, opts)
}

// relayedSessions is sessions through a relay.
func relayedSessions(tb testing.TB) (client, server *wsmux.Session, relay *tunneltest.Relay) {
	tb.Helper()
	dialed, accepted, relay := tunneltest.RelayedWebSockets(tb)
	return newSession(tb, dialed, wsmux.Client), newSession(tb, accepted, wsmux.Server), relay
}

// connect opens a stream and accepts it at the other end.
func connect(tb testing.TB, from, to *wsmux.Session) (opened, accepted *wsmux.Stream) {
	tb.Helper()
	opened, err := from.Open(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	accepted, err = to.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	return opened, accepted
}

func waitDone(t *testing.T, s *wsmux.Session) {
	t.Helper()
	await(t, "the session's end", s.Done())
}

func TestNewSessionRefusesBadArguments(t *testing.T) {
	t.Parallel()
	if _, err := wsmux.NewSession(nil, wsmux.Client, nil); err == nil {
		t.Error("NewSession(nil) = nil error")
	}
	ws, peer := tunneltest.WebSockets(t)
	if _, err := wsmux.NewSession(ws, wsmux.Client, &wsmux.Options{Window: 1}); err == nil {
		t.Error("NewSession with a window of 1 = nil error")
	}
	if _, _, err := peer.ReadMessage(); err == nil {
		t.Error("the WebSocket of a session that wasn't started is still open")
	}
}

func TestSessionOpensStreamsFromBothEnds(t *testing.T) {
	t.Parallel()
	client, server := sessions(t)
	for _, ends := range [][2]*wsmux.Session{{client, server}, {server, client}} {
		opened, accepted := connect(t, ends[0], ends[1])
		mustWrite(t, opened, "ping")
		mustRead(t, accepted, "ping")
		mustWrite(t, accepted, "pong")
		mustRead(t, opened, "pong")
		_ = opened.Close()
		_ = accepted.Close()
	}
	if err := client.Err(); err != nil {
		t.Errorf("Err() of a live session = %v, want nil", err)
	}
}

// Two messages for each frame would double the system calls.
func TestSessionSendsWholeFrames(t *testing.T) {
	t.Parallel()
	ws, peer := tunneltest.WebSockets(t)
	s := newSession(t, ws, wsmux.Client)
	const writes, size = 7, 32 * 1024
	go func() {
		stream, err := s.Open(t.Context())
		if err != nil {
			t.Errorf("Open: %v", err)
			return
		}
		for range writes {
			if _, err := stream.Write(make([]byte, size)); err != nil {
				t.Errorf("Write: %v", err)
			}
		}
		// A body that looks like the header of a data frame.
		if _, err := stream.Write([]byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1}); err != nil {
			t.Errorf("Write: %v", err)
		}
		_ = stream.CloseWrite()
	}()
	var sizes []uint32
	var message []byte // the rest of one
	for {
		if len(message) == 0 {
			var err error
			if _, message, err = peer.ReadMessage(); err != nil {
				t.Fatal(err)
			}
		}
		frame := message
		kind, flags, length := frame[1], binary.BigEndian.Uint16(frame[2:]), binary.BigEndian.Uint32(frame[8:])
		if kind != 0 {
			length = 0 // of a window update, which has no body
		}
		if len(frame) < 12+int(length) {
			t.Fatalf("message with %d bytes of a frame with a body of %d", len(frame), length)
		}
		message = frame[12+length:]
		if kind == 0 {
			sizes = append(sizes, length)
		}
		if flags&4 != 0 { // FIN
			break
		}
	}
	if len(sizes) != writes+1 || sizes[0] != size || sizes[writes] != 12 {
		t.Errorf("sizes of the data frames = %d, want %d times %d and 12", sizes, writes, size)
	}
}

func TestSessionSurvivesAPeerThatAcceptsNoStreams(t *testing.T) {
	t.Parallel()
	client, server := sessions(t)
	const backlog = 256
	for range backlog {
		if _, err := client.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// More callers than one may give up waiting, at no lasting cost.
	for range 3 {
		_, err := client.Open(newImpatience(t.Context()))
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "accepts no streams") {
			t.Errorf("Open = %v, want context.DeadlineExceeded and why", err)
		}
	}
	if err := client.Err(); err != nil {
		t.Errorf("Err() = %v, want a live session", err)
	}
	for range backlog {
		stream, err := server.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = stream.Close()
	}
	opened, err := client.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, opened, "now")
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Open(canceled); !errors.Is(err, context.Canceled) {
		t.Errorf("Open with a canceled context = %v, want context.Canceled", err)
	}
}

// impatience is a context that ends when it is waited on for the second time:
// Open has begun to open a stream then.
type impatience struct {
	context.Context //nolint:containedctx // it is one
	cancel          context.CancelCauseFunc
	waits           atomic.Int32
}

func newImpatience(ctx context.Context) *impatience {
	ctx, cancel := context.WithCancelCause(ctx)
	return &impatience{Context: ctx, cancel: cancel}
}

func (c *impatience) Done() <-chan struct{} {
	if c.waits.Add(1) == 2 {
		c.cancel(context.DeadlineExceeded)
	}
	return c.Context.Done()
}

// zeros never ends.
func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestSessionPingAndReceived(t *testing.T) {
	t.Parallel()
	client, _ := sessions(t)
	for range 3 {
		before := client.Received()
		if err := client.Ping(time.Now().Add(soon)); err != nil {
			t.Fatal(err)
		}
		within(t, "a Pong", func() {
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for client.Received() == before {
				<-tick.C
			}
		})
	}
}

func TestSessionLogsToItsLoggerOnly(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	var mu sync.Mutex
	logger := slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ws, peer := tunneltest.WebSockets(t)
	s, err := wsmux.NewSession(ws, wsmux.Server, &wsmux.Options{Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	send(t, peer, websocket.BinaryMessage, append([]byte{0, 1}, make([]byte, 10)...)) // a window update of a stream that doesn't exist
	sendClose(t, peer, websocket.CloseNormalClosure, "")
	waitDone(t, s)
	mu.Lock()
	defer mu.Unlock()
	if got := log.String(); !strings.Contains(got, "missing stream") || strings.Contains(got, "[ERR]") {
		t.Errorf("log = %q, want a warning about a missing stream and no error", got)
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// yamux answers each of its Pings from a goroutine of its own.
func TestSessionHoldsUpAPeerThatOnlySendsPings(t *testing.T) {
	t.Parallel()
	ws, peer, _ := tunneltest.RelayedWebSockets(t)
	s := newSession(t, ws, wsmux.Server)
	ping := make([]byte, 12)
	ping[1], ping[3] = 2, 1 // SYN
	block := bytes.Repeat(ping, 1000)
	const most = 1_000_000
	stuck := make(chan struct{})
	sent, answers := make(chan int, 1), make(chan struct{}, most)
	go func() {
		pings := 0
		defer func() { sent <- pings }()
		timer := time.AfterFunc(300*time.Millisecond, sync.OnceFunc(func() { close(stuck) }))
		defer timer.Stop()
		for pings < most {
			if err := peer.WriteMessage(websocket.BinaryMessage, block); err != nil {
				t.Errorf("send Pings: %v", err)
				return
			}
			timer.Reset(300 * time.Millisecond)
			pings += 1000
			select {
			case <-stuck:
				return
			default:
			}
		}
	}()
	select {
	case <-stuck:
	case pings := <-sent:
		t.Fatalf("%d Pings were taken without an answer being read", pings)
	}
	go func() { // now the peer reads
		for {
			_, answer, err := peer.ReadMessage()
			if err != nil {
				return
			}
			for ; len(answer) >= 12; answer = answer[12:] {
				if answer[1] == 2 && answer[3] == 2 { // ACK
					answers <- struct{}{}
				}
			}
		}
	}()
	for range <-sent {
		await(t, "the answer to a Ping", answers)
	}
	if err := s.Err(); err != nil {
		t.Errorf("Err() = %v, want a live session", err)
	}
}

// Inspect sees all that the peer sends, and before yamux has acted on it.
func TestInspect(t *testing.T) {
	t.Parallel()
	dialed, accepted := tunneltest.WebSockets(t)
	var mu sync.Mutex
	var seen []byte
	server, err := wsmux.NewSession(accepted, wsmux.Server, &wsmux.Options{Inspect: func(p []byte) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, p...)
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	opened, stream := connect(t, newSession(t, dialed, wsmux.Client), server)
	if _, err := io.WriteString(opened, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stream, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	const header = 12
	if want := 2*header + 5; len(seen) != want || !bytes.HasSuffix(seen, []byte("hello")) {
		t.Errorf("seen %q, want a window update and a data frame with hello", seen)
	}
}

// yamux has everybody spin who waits on a stream while the session ends, which
// takes long then if they are many.
func TestSessionEndsUnderManyWhoWait(t *testing.T) {
	t.Parallel()
	const streams = 2000
	client, server := sessions(t)
	var waiting sync.WaitGroup
	for range streams {
		near, far := connect(t, client, server)
		for _, stream := range []*wsmux.Stream{near, far} {
			waiting.Go(func() {
				if _, err := stream.Read(make([]byte, 1)); err == nil {
					t.Error("Read = nil error")
				}
			})
		}
	}
	within(t, "Close, and all who wait", func() {
		_ = client.Close()
		waiting.Wait()
	})
}
