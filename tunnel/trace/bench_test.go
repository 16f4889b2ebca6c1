package trace

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/wstun/wstun/tunnel/h2"
)

// unaryCall returns the bytes of both sides of a unary call of a warm connection, and those
// that precede it.
func unaryCall() (preface, call [2][]byte) {
	fields := [2][][]hpack.HeaderField{
		Client: {{
			{Name: ":method", Value: "POST"},
			{Name: ":scheme", Value: "http"},
			{Name: ":path", Value: "/wstun.demo.v1.Hub/CreateKey"},
			{Name: ":authority", Value: "localhost:50051"},
			{Name: "content-type", Value: "application/grpc"},
			{Name: "user-agent", Value: "grpc-go/1.85.0"},
			{Name: "te", Value: "trailers"},
		}},
		Server: {
			{{Name: ":status", Value: "200"}, {Name: "content-type", Value: "application/grpc"}},
			{{Name: "grpc-status", Value: "0"}, {Name: "grpc-message", Value: ""}},
		},
	}
	message := []byte("\x00\x00\x00\x00\x0a0123456789")
	for _, sender := range []Side{Client, Server} {
		var out, block bytes.Buffer
		if sender == Client {
			out.WriteString(http2.ClientPreface)
		}
		f, e := http2.NewFramer(&out, nil), hpack.NewEncoder(&block)
		_ = f.WriteSettings()
		write := func() {
			for i, list := range fields[sender] {
				block.Reset()
				for _, field := range list {
					_ = e.WriteField(field)
				}
				_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: i > 0})
				if i == 0 {
					_ = f.WriteData(1, sender == Client, message)
				}
			}
		}
		write() // fills the HPACK table
		preface[sender] = bytes.Clone(out.Bytes())
		out.Reset()
		write()
		call[sender] = out.Bytes()
	}
	return preface, call
}

// setStream sets the HTTP/2 stream of all frames.
func setStream(frames []byte, stream uint32) {
	for len(frames) > 0 {
		binary.BigEndian.PutUint32(frames[5:], stream)
		frames = frames[h2.HeaderLen+h2.ParseHeader(frames).Length:]
	}
}

// nothing is a Sink that ignores events.
type nothing struct{}

func (nothing) Event(*Event)                  {}
func (nothing) Flush(time.Time) (_ time.Time) { return }
func (nothing) Close()                        {}

// BenchmarkCall measures a small unary call on a warm connection: only decoded, or with
// its events received by a sink that ignores them.
func BenchmarkCall(b *testing.B) {
	for name, opts := range map[string]Output{"decoder": {Queue: 1}, "headers": {}, "messages": {Body: 64 << 10}} {
		b.Run(name, func(b *testing.B) {
			preface, call := unaryCall()
			opts.Sink = nothing{}
			t := New(0, opts)
			defer t.Close(soon())
			o := t.Session(1)(1, false)
			o.Received(preface[Client])
			o.Sent(preface[Server])
			b.ReportAllocs()
			for stream := uint32(3); b.Loop(); stream += 2 {
				setStream(call[Client], stream)
				setStream(call[Server], stream)
				o.Received(call[Client])
				o.Sent(call[Server])
			}
			o.End(nil)
		})
	}
}

// BenchmarkData measures DATA frames with parts of a large message, which aren't kept.
func BenchmarkData(b *testing.B) {
	preface, _ := unaryCall()
	t := New(0, Output{Sink: nothing{}})
	defer t.Close(soon())
	o := t.Session(1)(1, false)
	o.Received(preface[Client][:len(preface[Client])-len("\x00\x00\x00\x00\x0a0123456789")-h2.HeaderLen])
	var frame bytes.Buffer
	f := http2.NewFramer(&frame, nil)
	_ = f.WriteData(1, false, append([]byte("\x00\x00\x00\x3f\xfb"), make([]byte, 16379)...))
	b.SetBytes(int64(frame.Len()))
	b.ReportAllocs()
	for b.Loop() {
		o.Received(frame.Bytes())
	}
	o.End(nil)
}
