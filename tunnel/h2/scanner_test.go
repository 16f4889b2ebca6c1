package h2

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// rawFrame returns a frame with the given payload.
func rawFrame(kind http2.FrameType, flags http2.Flags, stream uint32, payload string) string {
	n := len(payload)
	header := []byte{
		byte(n >> 16), byte(n >> 8), byte(n), byte(kind), byte(flags),
		byte(stream >> 24), byte(stream >> 16), byte(stream >> 8), byte(stream),
	}
	return string(header) + payload
}

var (
	settings      = rawFrame(http2.FrameSettings, 0, 0, "\x00\x04\x00\x10\x00\x00")
	clientPreface = http2.ClientPreface + settings
)

// events records the calls of a Visitor: a line for each frame.
type events struct {
	lines []string
	open  []byte // the payload of the current frame
}

func (e *events) visitor() Visitor {
	return Visitor{
		Frame: func(Header) { e.open = nil },
		Payload: func(_ Header, p []byte) {
			if len(p) == 0 {
				e.lines = append(e.lines, "empty payload")
			}
			e.open = append(e.open, p...)
		},
		End: func(h Header) { e.add(h, e.open) },
	}
}

func (e *events) add(h Header, payload []byte) {
	e.lines = append(e.lines, fmt.Sprintf("%v %x on %d: %x", h.Type, uint8(h.Flags), h.Stream, payload))
}

// scan scans data in chunks of the given sizes. It returns the events, the Scanner, and
// the frame boundaries that Scan returned, as offsets in data.
func scan(d Direction, data string, size func() int) (*events, *Scanner, []int) {
	e := &events{}
	s := NewScanner(d, e.visitor())
	var boundaries []int
	for at := 0; at < len(data); {
		n := min(len(data)-at, size())
		if whole := s.Scan([]byte(data[at : at+n])); whole > 0 {
			boundaries = append(boundaries, at+whole)
		}
		at += n
	}
	return e, s, boundaries
}

func one() int { return 1 }
func all() int { return 1 << 30 }

func TestScanner(t *testing.T) {
	t.Parallel()
	const padded = http2.FlagDataPadded
	for _, test := range []struct {
		name   string
		frames string
		want   []string
	}{
		{"data", rawFrame(http2.FrameData, 1, 1, "abc"), []string{"DATA 1 on 1: 616263"}},
		{"no payload", rawFrame(http2.FrameData, 1, 1, ""), []string{"DATA 1 on 1: "}},
		{"a reserved bit", rawFrame(http2.FrameData, 0, 1<<31|3, "a"), []string{"DATA 0 on 3: 61"}},
		{"padding", rawFrame(http2.FrameData, padded, 1, "\x02abc\x00\x00"), []string{"DATA 8 on 1: 616263"}},
		{"padding alone", rawFrame(http2.FrameData, padded, 1, "\x02\x00\x00"), []string{"DATA 8 on 1: "}},
		{"padding of no length", rawFrame(http2.FrameData, padded, 1, "\x00a"), []string{"DATA 8 on 1: 61"}},
		{"headers with padding and priority", rawFrame(http2.FrameHeaders, 0x2c, 1, "\x01PPPPPab\x00"), []string{"HEADERS 2c on 1: 6162"}},
		{"push promise", rawFrame(http2.FramePushPromise, 0x4, 1, "\x00\x00\x00\x02ab"), []string{"PUSH_PROMISE 4 on 1: 6162"}},
		{
			"header block in three frames",
			rawFrame(http2.FrameHeaders, 0x9, 1, "\x01ab\x00") + rawFrame(http2.FrameContinuation, 0, 1, "") + rawFrame(http2.FrameContinuation, 4, 1, "c"),
			[]string{"HEADERS 9 on 1: 616263"},
		},
		{"a frame of another kind", rawFrame(0xfa, 0xff, 5, "x"), []string{"UNKNOWN_FRAME_TYPE_250 ff on 5: 78"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, size := range []func() int{one, all} {
				e, s, _ := scan(FromServer, settings+test.frames, size)
				if got := e.lines[1:]; !slices.Equal(got, test.want) || s.Err() != nil || !s.AtBoundary() {
					t.Errorf("%q, %v, at a boundary: %v, want %q", got, s.Err(), s.AtBoundary(), test.want)
				}
			}
		})
	}
}

func TestScannerStops(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		d     Direction
		bytes string
		want  error
	}{
		{"nothing", FromClient, "", nil},
		{"half a preface", FromClient, http2.ClientPreface[:10], nil},
		{"HTTP/1.1", FromClient, "GET / HTTP/1.1\r\n", ErrNotHTTP2},
		{"TLS", FromClient, "\x16\x03\x01", ErrNotHTTP2},
		{"other preface", FromClient, http2.ClientPreface[:23] + "x", ErrNotHTTP2},
		{"no SETTINGS", FromClient, http2.ClientPreface + rawFrame(http2.FrameHeaders, 4, 1, ""), ErrNotHTTP2},
		{"a server that speaks first", FromServer, "SSH-2.0-OpenSSH_9.9\r\n", ErrNotHTTP2},
		{"SETTINGS", FromServer, settings, nil},
		{"too much padding", FromServer, settings + rawFrame(http2.FrameData, 8, 1, "\x03ab"), ErrMalformed},
		{"as much padding as fits", FromServer, settings + rawFrame(http2.FrameData, 8, 1, "\x02ab"), nil},
		{"no length of the padding", FromServer, settings + rawFrame(http2.FrameData, 8, 1, ""), ErrMalformed},
		{"half a priority", FromServer, settings + rawFrame(http2.FrameHeaders, 0x24, 1, "PPPP"), ErrMalformed},
		{"padding and priority", FromServer, settings + rawFrame(http2.FrameHeaders, 0x2c, 1, "\x01PPPPP"), ErrMalformed},
		{"CONTINUATION of nothing", FromServer, settings + rawFrame(http2.FrameContinuation, 4, 1, ""), ErrMalformed},
		{"CONTINUATION on another stream", FromServer, settings + rawFrame(http2.FrameHeaders, 0, 1, "") + rawFrame(http2.FrameContinuation, 4, 3, ""), ErrMalformed},
		{"data in a header block", FromServer, settings + rawFrame(http2.FrameHeaders, 0, 1, "") + rawFrame(http2.FrameData, 0, 1, ""), ErrMalformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, size := range []func() int{one, all} {
				_, s, _ := scan(test.d, test.bytes, size)
				if !errors.Is(s.Err(), test.want) {
					t.Errorf("Err() = %v, want %v", s.Err(), test.want)
				}
				if test.want == nil {
					continue
				}
				if n := s.Scan([]byte(settings)); n != 0 || s.AtBoundary() {
					t.Errorf("Scan after the error = %d, at a boundary: %v", n, s.AtBoundary())
				}
			}
		})
	}
}

func TestScannerPrefaceDone(t *testing.T) {
	t.Parallel()
	for d, bytes := range map[Direction]string{FromClient: clientPreface, FromServer: settings} {
		s := NewScanner(d, Visitor{})
		for i := range len(bytes) {
			if s.PrefaceDone() {
				t.Errorf("PrefaceDone() = true after %d bytes of %d", i, len(bytes))
			}
			s.Scan([]byte{bytes[i]})
		}
		if s.Scan([]byte("the beginning of a frame")); !s.PrefaceDone() {
			t.Error("PrefaceDone() = false after the whole preface")
		}
	}
}

func TestScannerLookahead(t *testing.T) {
	t.Parallel()
	e := &events{}
	s := NewScanner(FromServer, e.visitor())
	s.Scan([]byte(settings[:12]))
	ahead := s.Lookahead()
	rest := settings[12:] + rawFrame(http2.FrameData, 0, 1, "abc") + "\x00\x00"
	if got, want := ahead.Scan([]byte(rest)), len(rest)-2; got != want {
		t.Errorf("Scan of the copy = %d, want %d", got, want)
	}
	if len(e.lines) > 0 {
		t.Errorf("Scan of the copy called the visitor: %q", e.lines)
	}
	if got, want := s.Scan([]byte(rest)), len(rest)-2; got != want || len(e.lines) != 2 {
		t.Errorf("Scan = %d, %d frames, want %d, 2", got, len(e.lines), want)
	}
}

// generate returns random frames from x/net's Framer.
func generate(t *testing.T, rnd *rand.Rand, d Direction) string {
	t.Helper()
	var buf bytes.Buffer
	framer := http2.NewFramer(&buf, nil)
	framer.AllowIllegalWrites = true
	if d == FromClient {
		buf.WriteString(http2.ClientPreface)
	}
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	check(framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20}))
	payload := func(most int) []byte { return bytes.Repeat([]byte{byte(rnd.Uint32())}, rnd.IntN(most)) }
	for range 200 {
		stream := uint32(2*rnd.IntN(40) + 1)
		switch rnd.IntN(9) {
		case 0, 1, 2:
			more := rnd.IntN(3)
			p := http2.HeadersFrameParam{
				StreamID: stream, BlockFragment: payload(200), EndHeaders: more == 0, EndStream: rnd.IntN(2) == 0, PadLength: uint8(rnd.IntN(9)),
			}
			if rnd.IntN(2) == 0 {
				p.Priority = http2.PriorityParam{StreamDep: stream + 2, Weight: 3}
			}
			check(framer.WriteHeaders(p))
			for ; more > 0; more-- {
				check(framer.WriteContinuation(stream, more == 1, payload(50)))
			}
		case 3, 4:
			check(framer.WriteDataPadded(stream, rnd.IntN(3) == 0, payload(3000), make([]byte, rnd.IntN(9))))
		case 5:
			check(framer.WriteData(stream, rnd.IntN(3) == 0, payload(3000)))
		case 6:
			check(framer.WriteRSTStream(stream, http2.ErrCodeCancel))
		case 7:
			check(framer.WritePing(rnd.IntN(2) == 0, [8]byte{1}))
		case 8:
			check(framer.WriteWindowUpdate(stream, 1000))
		}
	}
	return buf.String()
}

// reference returns the events and the frame boundaries that x/net's Framer finds.
func reference(t *testing.T, data string, d Direction) (*events, []int) {
	t.Helper()
	e := &events{}
	r := strings.NewReader(data)
	if d == FromClient {
		_, _ = r.Seek(int64(len(http2.ClientPreface)), io.SeekStart)
	}
	framer := http2.NewFramer(nil, r)
	var boundaries []int
	var headers Header
	var block []byte
	for {
		frame, err := framer.ReadFrame()
		if errors.Is(err, io.EOF) {
			return e, boundaries
		}
		if err != nil {
			t.Fatal(err)
		}
		f := frame.Header()
		h := Header{f.Type, f.Flags, f.Length, f.StreamID}
		whole := true
		switch f := frame.(type) {
		case *http2.DataFrame:
			e.add(h, f.Data())
		case *http2.HeadersFrame:
			headers, block = h, bytes.Clone(f.HeaderBlockFragment())
			if whole = f.HeadersEnded(); whole {
				e.add(headers, block)
			}
		case *http2.ContinuationFrame:
			block = append(block, f.HeaderBlockFragment()...)
			if whole = f.HeadersEnded(); whole {
				e.add(headers, block)
			}
		default: // the Framer doesn't return the payload of other frames
			at := len(data) - r.Len()
			e.add(h, []byte(data[at-int(h.Length):at]))
		}
		if whole {
			boundaries = append(boundaries, len(data)-r.Len())
		}
	}
}

func TestScannerAgreesWithFramer(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		for _, d := range []Direction{FromClient, FromServer} {
			data := generate(t, rnd, d)
			want, boundaries := reference(t, data, d)
			for name, size := range map[string]func() int{"random": func() int { return 1 + rnd.IntN(20) }, "one": one, "all": all} {
				got, s, at := scan(d, data, size)
				if !slices.Equal(got.lines, want.lines) || s.Err() != nil {
					t.Errorf("seed %d, chunks %s: %d frames, %v, want %d", seed, name, len(got.lines), s.Err(), len(want.lines))
				}
				if name == "one" && !slices.Equal(at, boundaries) {
					t.Errorf("seed %d: boundaries %v, want %v", seed, at, boundaries)
				}
			}
		}
	}
}

func FuzzScanner(f *testing.F) {
	f.Add(clientPreface+rawFrame(http2.FrameHeaders, 4, 1, "block"), false, byte(1))
	f.Add(settings+rawFrame(http2.FrameHeaders, 0x28, 1, "\x02PPPPPblock\x00\x00")+rawFrame(http2.FrameContinuation, 4, 1, "k"), true, byte(3))
	f.Add(settings+rawFrame(http2.FrameData, 8, 1, "\xff"), true, byte(2))
	f.Add("HTTP/1.1 200 OK\r\n\r\n", true, byte(7))
	f.Add("\xff\xff\xff\x04\x00\x00\x00\x00\x00", true, byte(2))
	f.Fuzz(func(t *testing.T, data string, d bool, size byte) {
		want, whole, at := scan(Direction(d), data, all)
		got, chunks, in := scan(Direction(d), data, func() int { return int(size%9) + 1 })
		if !slices.Equal(got.lines, want.lines) || !errors.Is(chunks.Err(), whole.Err()) || chunks.AtBoundary() != whole.AtBoundary() {
			t.Errorf("in chunks %q, %v, want %q, %v", got.lines, chunks.Err(), want.lines, whole.Err())
		}
		if len(at) > 0 && at[0] != in[len(in)-1] || len(at) == 0 && len(in) > 0 {
			t.Errorf("the last boundary is at %v, and in chunks at %v", at, in)
		}
	})
}
