package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

func TestForwardUnavailable(t *testing.T) {
	t.Parallel()
	f := &Forwarder{Sessions: newSessions(t), Wait: 20 * time.Millisecond}
	f.Sessions.SetDownReason(errors.New("the reason"))
	cc := tunneltest.Caller(t, forward(t, f))
	for range 3 {
		err := tunneltest.Call(tunneltest.Soon(t), cc, "hello")
		if s := status.Convert(err); s.Code() != codes.Unavailable || s.Message() != "wstun: no session: the reason" {
			t.Errorf("call = %v, want Unavailable with the reason", err)
		}
	}
	serveCalls(t, f.Sessions, nil)
	if err := tunneltest.Call(tunneltest.Soon(t), cc, "hello"); err != nil {
		t.Errorf("call with a session up = %v", err)
	}
}

// The connection of a client that makes no call is closed once a session is up.
func TestForwardUnavailableEndsWithTheNextSession(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]string{
		"silent":         "",
		"half a preface": http2.ClientPreface[:20],
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused := make(messages, 10)
			f := &Forwarder{Sessions: newSessions(t), Wait: -1, Logger: slog.New(refused)}
			local := tunneltest.DialTCP(t, forward(t, f))
			tunneltest.Write(t, local, first)
			if got, want := tunneltest.Await(t, "the log", refused), "connection not forwarded"; got != want {
				t.Fatalf("logged %q, want %q", got, want)
			}
			client, _ := sessionPair(t)
			f.Sessions.Add(client, "")
			expectEarlyEnd(t, name, local)
		})
	}
}

// expectEarlyEnd fails the test unless local ends well before unavailableWait.
func expectEarlyEnd(t *testing.T, sent string, local io.Reader) {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, local)
	}()
	const early = unavailableWait - time.Second
	if _, ok := tunneltest.Within(early, ended); !ok {
		t.Errorf("the connection of %q isn't closed within %v", sent, early)
		<-ended
	}
}

// The same for a gRPC client.
func TestForwardUnavailableClosesIdleGRPCClient(t *testing.T) {
	t.Parallel()
	f := &Forwarder{Sessions: newSessions(t), Wait: -1}
	cc := tunneltest.Caller(t, forward(t, f))
	cc.Connect()
	ctx := tunneltest.Soon(t)
	for state := cc.GetState(); state != connectivity.Ready; state = cc.GetState() {
		if !cc.WaitForStateChange(ctx, state) {
			t.Fatalf("the client is %v, want ready", state)
		}
	}
	serveCalls(t, f.Sessions, nil)
	away := make(chan bool, 1)
	go func() { away <- cc.WaitForStateChange(ctx, connectivity.Ready) }()
	if _, ok := tunneltest.Within(unavailableWait-time.Second, away); !ok {
		t.Errorf("the client is still connected after %v", unavailableWait-time.Second)
	}
	if err := tunneltest.Call(ctx, cc, "hello"); err != nil {
		t.Errorf("call = %v", err)
	}
}

func TestForwardUnavailableClosesOtherProtocols(t *testing.T) {
	t.Parallel()
	f := &Forwarder{Sessions: newSessions(t), Wait: -1}
	addr := forward(t, f)
	for _, first := range []string{"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01", "PRI * HTTP/1"} {
		local := tunneltest.DialTCP(t, addr)
		tunneltest.Write(t, local, first)
		if first == "PRI * HTTP/1" {
			tunneltest.Write(t, local, "!")
		}
		expectEarlyEnd(t, first, local)
	}
}

// messages is a slog.Handler that sends the messages of records.
type messages chan string

func (m messages) Enabled(context.Context, slog.Level) bool { return true }
func (m messages) WithAttrs([]slog.Attr) slog.Handler       { return m }
func (m messages) WithGroup(string) slog.Handler            { return m }

func (m messages) Handle(_ context.Context, r slog.Record) error {
	m <- r.Message
	return nil
}

// The answer has a GOAWAY with the last stream, so that clients repeat later calls on a
// new connection, and then ends each call that has arrived.
func TestForwardUnavailableFrames(t *testing.T) {
	t.Parallel()
	f := &Forwarder{Sessions: newSessions(t), Wait: -1}
	local := tunneltest.DialTCP(t, forward(t, f))
	tunneltest.Write(t, local, http2.ClientPreface+string(rawFrame(http2.FrameSettings, 0, 0, 0))+
		string(rawFrame(http2.FrameHeaders, endHeaders, 5, 10))+string(rawFrame(http2.FrameHeaders, endHeaders, 7, 10)))
	framer := http2.NewFramer(nil, local)
	var got []string
	for {
		frame, err := framer.ReadFrame()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		h := frame.Header()
		line := fmt.Sprintf("%v %x on %d", h.Type, uint8(h.Flags), h.StreamID)
		if goAway, ok := frame.(*http2.GoAwayFrame); ok {
			line += fmt.Sprintf(" up to %d: %s", goAway.LastStreamID, goAway.DebugData())
		}
		got = append(got, line)
	}
	want := []string{
		"SETTINGS 0 on 0", "SETTINGS 1 on 0", "GOAWAY 0 on 0 up to 7: wstun: no session: none established yet",
		"HEADERS 5 on 5", "HEADERS 5 on 7",
	}
	if !slices.Equal(got, want) {
		t.Errorf("frames\n%q, want\n%q", got, want)
	}
}
