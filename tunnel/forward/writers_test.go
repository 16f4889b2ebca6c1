package forward

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/wstun/wstun/tunnel/h2"
	"github.com/wstun/wstun/tunnel/rpc"
	"github.com/wstun/wstun/tunnel/tunneltest"
)

// newHTTP2Flow returns a flow whose client has sent the HTTP/2 preface.
func newHTTP2Flow(client net.Conn) *flow {
	fl := newFlow(newSocketEndpoint(client), func(error) {}, &rpc.Counts{})
	fl.calls.scan(&fl.calls.requests, append([]byte(http2.ClientPreface), rawFrame(http2.FrameSettings, 0, 0, 0)...))
	return fl
}

// generate returns random frames of a server.
func generate(rnd *rand.Rand) []byte {
	out := rawFrame(http2.FrameSettings, 0, 0, 6)
	for range 200 {
		stream := uint32(2*rnd.IntN(40) + 1)
		if rnd.IntN(2) == 0 {
			out = append(out, rawFrame(http2.FrameHeaders, 0, stream, rnd.IntN(200))...)
			out = append(out, rawFrame(http2.FrameContinuation, endHeaders, stream, rnd.IntN(200))...)
		} else {
			out = append(out, rawFrame(http2.FrameData, 0, stream, rnd.IntN(3000))...)
		}
	}
	return out
}

func TestClientWriterWritesWholeFrames(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		near, far := socketPair(t, "tcp", "127.0.0.1:0")
		got := make(chan []byte, 1)
		go func() {
			data, err := io.ReadAll(far)
			if err != nil {
				t.Error(err)
			}
			got <- data
		}()
		fl := newHTTP2Flow(near)
		w := &clientWriter{fl: fl}
		const settingsLen = h2.HeaderLen + 6 // may be written in parts
		sent := append(generate(rnd), "the beginning of a frame"...)
		for rest := sent; len(rest) > 0; {
			p := rest[:min(len(rest), 1+rnd.IntN(5000))]
			rest = rest[len(p):]
			n, err := 0, error(nil)
			if rnd.IntN(2) == 0 {
				n, err = w.TryWrite(p)
			}
			if err == nil && n < len(p) {
				_, err = w.Write(p[n:])
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(sent)-len(rest) > settingsLen && !fl.calls.responses.AtBoundary() {
				t.Fatalf("seed %d: a part of a frame has been written", seed)
			}
		}
		if err := w.flush(); err != nil {
			t.Fatal(err)
		}
		_ = fl.client.CloseWrite()
		if data := tunneltest.Await(t, "the client", got); !bytes.Equal(data, sent) {
			t.Errorf("seed %d: the client received %d bytes, want the %d that were sent", seed, len(data), len(sent))
		}
	}
}

// Other protocols and very long frames aren't buffered.
func TestClientWriterBuffersNothingElse(t *testing.T) {
	t.Parallel()
	begun := string(rawFrame(http2.FrameSettings, 0, 0, 0))
	for name, tt := range map[string]struct {
		newFlow func(net.Conn) *flow
		chunks  []string
	}{
		"another client":  {func(near net.Conn) *flow { return newFlow(newSocketEndpoint(near), nil, &rpc.Counts{}) }, []string{begun, begun[:4], begun[4:8]}},
		"another server":  {newHTTP2Flow, []string{"H", "TTP/1.1 200 OK\r\n"}},
		"very long frame": {newHTTP2Flow, []string{begun, string(rawFrame(http2.FrameData, 0, 1, 2*maxPartial))[:maxPartial+1]}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			near, far := socketPair(t, "tcp", "127.0.0.1:0")
			w := &clientWriter{fl: tt.newFlow(near)}
			for _, chunk := range tt.chunks {
				tunneltest.Write(t, w, chunk)
				tunneltest.Expect(t, far, chunk)
			}
		})
	}
}

// bufferConn is a connection that collects written bytes.
type bufferConn struct {
	net.Conn
	bytes.Buffer
}

func (c *bufferConn) Write(p []byte) (int, error) { return c.Buffer.Write(p) }
func (c *bufferConn) Read([]byte) (int, error)    { return 0, io.EOF }

func FuzzClientWriter(f *testing.F) {
	answer := append(rawFrame(http2.FrameSettings, 0, 0, 6), rawFrame(http2.FrameHeaders, 5, 1, 20)...)
	f.Add(answer, uint16(7))
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\n"), uint16(3))
	f.Add(append(answer, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1, 0), uint16(2))
	f.Fuzz(func(t *testing.T, data []byte, size uint16) {
		near := &bufferConn{}
		w := &clientWriter{fl: newHTTP2Flow(near)}
		for rest := data; len(rest) > 0; {
			p := rest[:min(len(rest), int(size)+1)]
			rest = rest[len(p):]
			if n, err := w.Write(p); n != len(p) || err != nil {
				t.Fatalf("Write of %d bytes = %d, %v", len(p), n, err)
			}
			if len(w.partial) > maxPartial {
				t.Fatalf("%d bytes are buffered, want at most %d", len(w.partial), maxPartial)
			}
		}
		if err := w.flush(); err != nil || !bytes.Equal(near.Bytes(), data) {
			t.Errorf("flush = %v with %d bytes written, want nil with %d", err, near.Len(), len(data))
		}
	})
}

// If a session is lost in the middle of a frame, the client receives a GOAWAY with the
// reason.
func TestForwardSessionLostWithinAFrame(t *testing.T) {
	t.Parallel()
	client, peer, relay := relayedSessions(t)
	f := &Forwarder{Sessions: newSessions(t)}
	f.Sessions.Add(client, "")
	local := tunneltest.DialTCP(t, forward(t, f))
	request := http2.ClientPreface + string(rawFrame(http2.FrameSettings, 0, 0, 0))
	tunneltest.Write(t, local, request)
	stream := acceptStream(t, peer)
	tunneltest.Expect(t, stream, request)
	whole := string(rawFrame(http2.FrameSettings, 0, 0, 0)) + string(rawFrame(http2.FrameData, 0, 1, 100))
	tunneltest.Write(t, stream, whole+string(rawFrame(http2.FrameData, 0, 1, 1000)[:500]))
	tunneltest.Expect(t, local, whole)
	relay.Cut()
	frame, err := http2.NewFramer(nil, local).ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	if goAway, ok := frame.(*http2.GoAwayFrame); !ok || !strings.Contains(string(goAway.DebugData()), "session ended") {
		t.Errorf("the client received %v, want a GOAWAY with the reason", frame)
	}
	expectEnd(t, local)
}
