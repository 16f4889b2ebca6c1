package wsmux_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wstun/wstun/tunnel/mux"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// newSession starts a session that ends with the test.
func newSession(tb testing.TB, conn *websocket.Conn, side wsmux.Side, role wsmux.Role) *wsmux.Session {
	tb.Helper()
	return newSessionWith(tb, conn, side, role, nil)
}

func newSessionWith(tb testing.TB, conn *websocket.Conn, side wsmux.Side, role wsmux.Role, opts *wsmux.Options) *wsmux.Session {
	tb.Helper()
	s, err := wsmux.NewSession(conn, side, role, opts)
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
	return newSessionWith(tb, dialed, wsmux.Dialing, wsmux.Client, opts), newSessionWith(tb, accepted, wsmux.Accepting, wsmux.Server, opts)
}

// relayedSessions returns the two ends of a session through a relay.
func relayedSessions(tb testing.TB) (client, server *wsmux.Session, relay *tunneltest.Relay) {
	tb.Helper()
	dialed, accepted, relay := tunneltest.RelayedWebSockets(tb)
	return newSession(tb, dialed, wsmux.Dialing, wsmux.Client), newSession(tb, accepted, wsmux.Accepting, wsmux.Server), relay
}

// connect opens a stream and accepts it at the other end of the session.
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
	if _, err := wsmux.NewSession(nil, wsmux.Dialing, wsmux.Client, nil); err == nil {
		t.Error("NewSession(nil) = nil error")
	}
	ws, peer := tunneltest.WebSockets(t)
	if _, err := wsmux.NewSession(ws, wsmux.Dialing, wsmux.Client, &wsmux.Options{Window: 1}); err == nil {
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

// A yamux frame is sent in one message, because two would double the system calls.
func TestSessionSendsWholeFrames(t *testing.T) {
	t.Parallel()
	ws, peer := tunneltest.WebSockets(t)
	s := newSession(t, ws, wsmux.Dialing, wsmux.Client)
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
	var message []byte // the rest of the current message
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
			length = 0 // a window update has no body
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
	for range 3 { // callers that give up don't block later ones
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, err := client.Open(ctx)
		cancel()
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

// Read never returns io.EOF.
func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestSessionPings(t *testing.T) {
	t.Parallel()
	client, _ := sessions(t)
	for name, ping := range map[string]func(context.Context) (time.Duration, error){"Ping": client.Ping, "PingYamux": client.PingYamux} {
		for range 3 {
			if took, err := ping(t.Context()); err != nil || took <= 0 || took > soon {
				t.Errorf("%s = %v, %v", name, took, err)
			}
		}
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := ping(canceled); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a canceled context = %v", name, err)
		}
	}
}

func TestSessionLogsToItsLoggerOnly(t *testing.T) {
	t.Parallel()
	var log tunneltest.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ws, peer := tunneltest.WebSockets(t)
	s, err := wsmux.NewSession(ws, wsmux.Dialing, wsmux.Server, &wsmux.Options{Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	send(t, peer, websocket.BinaryMessage, []byte{0, 1, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0}) // a window update of a stream that doesn't exist
	sendClose(t, peer, websocket.CloseNormalClosure, "")
	waitDone(t, s)
	if got := log.String(); !strings.Contains(got, "missing stream") || strings.Contains(got, "[ERR]") {
		t.Errorf("log = %q, want a warning about a missing stream and no error", got)
	}
}

// A session stops reading from a peer that sends Pings but reads no replies, which use
// memory. When the peer reads, it receives all of them.
func TestSessionStopsReadingPingsOfAPeerThatDoesNotRead(t *testing.T) {
	t.Parallel()
	ws, peer, _ := tunneltest.RelayedWebSockets(t)
	s := newSession(t, ws, wsmux.Dialing, wsmux.Server)
	ping := make([]byte, 12)
	ping[1], ping[3] = 2, 1 // SYN
	block := bytes.Repeat(ping, 1000)
	const most = 1_000_000
	stuck := make(chan struct{})
	sent, replies := make(chan int, 1), make(chan struct{}, most)
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
		t.Fatalf("the session read %d Pings of a peer that reads no reply", pings)
	}
	go func() { // now the peer reads
		for {
			_, frames, err := peer.ReadMessage()
			if err != nil {
				return
			}
			for ; len(frames) >= 12; frames = frames[12:] {
				if frames[1] == 2 && frames[3] == 2 { // ACK
					replies <- struct{}{}
				}
			}
		}
	}()
	for range <-sent {
		await(t, "the reply to a Ping", replies)
	}
	if err := s.Err(); err != nil {
		t.Errorf("Err() = %v, want a live session", err)
	}
}

// Observe reports all events of a stream, and Stats counts its bytes and frames.
func TestObserveAndStats(t *testing.T) {
	t.Parallel()
	dialed, accepted := tunneltest.WebSockets(t)
	var mu sync.Mutex
	var events []string
	ended := make(chan struct{})
	note := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, fmt.Sprintf(format, args...))
	}
	server := newSessionWith(t, accepted, wsmux.Accepting, wsmux.Server, &wsmux.Options{Observe: func(id uint32, opened bool) *mux.StreamObserver {
		note("stream %d, opened here %v", id, opened)
		return &mux.StreamObserver{
			Accepted: func() { note("accepted") },
			Received: func(p []byte) { note("received %s", p) },
			Sent:     func(p []byte) { note("sent %s", p) },
			Closed:   func(byPeer bool) { note("closed by peer %v", byPeer) },
			End: func(err error) {
				note("end %v", err)
				close(ended)
			},
		}
	}})
	client := newSession(t, dialed, wsmux.Dialing, wsmux.Client)
	near, far := connect(t, client, server)
	mustWrite(t, near, "hello")
	mustRead(t, far, "hello")
	mustWrite(t, far, "world")
	mustRead(t, near, "world")
	_ = near.CloseWrite()
	if _, err := io.Copy(io.Discard, far); err != nil {
		t.Fatal(err)
	}
	_ = far.Close()
	await(t, "the stream's end", ended)
	mu.Lock()
	defer mu.Unlock()
	got := strings.Join(events, "; ")
	if want := "stream 1, opened here false; accepted; received hello; sent world; closed by peer true; closed by peer false; end <nil>"; got != want {
		t.Errorf("events %s\nwant   %s", got, want)
	}
	if _, err := client.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	st, ss := client.Stats(), far.Stats()
	if st.BytesSent != 5 || st.BytesReceived != 5 || st.FramesSent != 1 || st.FramesReceived != 1 || st.Opened != 1 || st.Accepted != 0 || st.Streams > 1 ||
		st.RoundTrip < st.LeastRoundTrip || st.LeastRoundTrip <= 0 || time.Since(st.LastActivity) > time.Minute {
		t.Errorf("Stats() = %+v", st)
	}
	if ss.BytesSent != 5 || ss.BytesReceived != 5 || ss.FramesSent != 1 || ss.FramesReceived != 1 || time.Since(ss.LastActivity) > time.Minute {
		t.Errorf("Stats() of the stream = %+v", ss)
	}
}

// Ending a session with thousands of pending Reads is fast. (In hashicorp/yamux, each
// pending Read spins while the session ends.)
func TestSessionCloseWithManyReads(t *testing.T) {
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
	within(t, "Close and all Reads", func() {
		_ = client.Close()
		waiting.Wait()
	})
}
