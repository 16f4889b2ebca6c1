package tracing

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/trace"
	"github.com/wstun/wstun/tunnel/tunneltest"
)

// newAttachable returns a Tracing without outputs.
func newAttachable(t *testing.T, o *Options) *Tracing {
	t.Helper()
	traced, err := o.Start(t.Context(), &Output{Secrets: &escape.Secrets{}, Catalog: hubCatalog(t), Attachable: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(traced.Close)
	return traced
}

// passCall passes a call of the demo Hub through t, on a connection of its own. The request
// has secret metadata, and some more, the response has a secret.
func passCall(t *Tracing, more ...hpack.HeaderField) {
	o := t.Observe()(1)(1, true)
	if o == nil {
		return
	}
	message, _ := proto.Marshal(&demo.Key{Name: "k1", Secret: "hidden1"})
	message = append([]byte{0, 0, 0, 0, byte(len(message))}, message...)
	request := append([]hpack.HeaderField{
		{Name: ":path", Value: "/wstun.demo.v1.Hub/CreateKey"},
		{Name: "content-type", Value: "application/grpc"},
		{Name: "x-password", Value: "hidden2"},
		{Name: "x-mine", Value: "hidden3"},
	}, more...)
	for _, side := range []struct {
		write   func([]byte)
		preface string
		fields  []hpack.HeaderField
	}{
		{o.Sent, http2.ClientPreface, request},
		{o.Received, "", []hpack.HeaderField{{Name: ":status", Value: "200"}, {Name: "content-type", Value: "application/grpc"}}},
	} {
		var out, block bytes.Buffer
		f, e := http2.NewFramer(&out, nil), hpack.NewEncoder(&block)
		out.WriteString(side.preface)
		_ = f.WriteSettings()
		for _, field := range side.fields {
			_ = e.WriteField(field)
		}
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
		if side.preface == "" {
			_ = f.WriteData(1, false, message)
			block.Reset()
			_ = e.WriteField(hpack.HeaderField{Name: "grpc-status", Value: "0"})
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
		}
		side.write(out.Bytes())
	}
	o.End(nil)
}

// reading is a live recording that is read.
type reading struct {
	text  strings.Builder // so far
	lines *bufio.Scanner
	conn  net.Conn
	end   func() error // ends it, and returns the result of Attach
}

// attach attaches a reader, and reads the first line.
func attach(t *testing.T, traced *Tracing, opts AttachOptions) *reading {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := net.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- traced.Attach(ctx, w, opts) }()
	live := &reading{lines: bufio.NewScanner(r), conn: r}
	live.end = func() error {
		cancel()
		err := tunneltest.Await(t, "Attach", ended)
		_ = w.Close()
		return err
	}
	if l := live.next(t); l.Event != recording.HeaderLine || l.Version != recording.Version {
		t.Errorf("the first line is %s", live.text.String())
	}
	return live
}

func (r *reading) next(t *testing.T) *recording.Line {
	t.Helper()
	if !r.lines.Scan() {
		t.Fatalf("the recording has ended: %v", r.lines.Err())
	}
	r.text.WriteString(r.lines.Text() + "\n")
	l := &recording.Line{}
	if err := json.Unmarshal(r.lines.Bytes(), l); err != nil {
		t.Fatal(err)
	}
	return l
}

// until reads until an event of a type.
func (r *reading) until(t *testing.T, kind trace.Type) string {
	t.Helper()
	for r.next(t).Type != kind.String() {
	}
	return r.text.String()
}

// Live recordings have the messages or only their sizes, and no secrets.
func TestAttach(t *testing.T) {
	t.Parallel()
	traced := newAttachable(t, &Options{})
	passCall(traced) // nobody looks
	all := attach(t, traced, AttachOptions{Messages: true, Redact: []string{"x-mine"}})
	sizes := attach(t, traced, AttachOptions{Filter: []string{"$.name=k1"}, Redact: []string{"x-mine"}})
	none := attach(t, traced, AttachOptions{Filter: []string{"$.name=k2"}})
	passCall(traced)
	text := all.until(t, trace.ServerTrailer)
	if !strings.Contains(text, `"message":{"name":"k1","secret":"[redacted]"}`) || !strings.Contains(text, `"data":`) {
		t.Errorf("with messages: %s", text)
	}
	if schema, message := strings.Index(text, `"event":"schema"`), strings.Index(text, `"message":`); schema < 0 || schema > message {
		t.Errorf("the schema doesn't precede its messages: %s", text)
	}
	withSizes := sizes.until(t, trace.ServerTrailer)
	if !strings.Contains(withSizes, `"type":"server_message"`) || !strings.Contains(withSizes, `"size":13`) {
		t.Errorf("with sizes: %s", withSizes)
	}
	for _, unwanted := range []string{`"data":`, `"message":{`, `"note"`, `"truncated"`, "k1"} {
		if strings.Contains(withSizes, unwanted) {
			t.Errorf("%s is in %s", unwanted, withSizes)
		}
	}
	if contains(text+withSizes, "hidden") {
		t.Errorf("a secret is in %s%s", text, withSizes)
	}
	for _, r := range []*reading{all, sizes, none} {
		rest := make(chan string, 1)
		go func() {
			text, _ := io.ReadAll(r.conn)
			rest <- string(text)
		}()
		if err := r.end(); err != nil {
			t.Errorf("Attach = %v", err)
		}
		if text := tunneltest.Await(t, "the rest", rest); strings.Contains(text, `"rpc"`) {
			t.Errorf("the rest is %s", text)
		}
	}
}

// Wrong options are reported before anything is written.
func TestAttachMistakes(t *testing.T) {
	t.Parallel()
	traced := newAttachable(t, &Options{})
	for _, opts := range []AttachOptions{{Filter: []string{">x"}}, {Redact: []string{"["}}} {
		var out bytes.Buffer
		if err := traced.Attach(t.Context(), &out, opts); err == nil || out.Len() > 0 {
			t.Errorf("%+v: %v, written %s", opts, err, out.String())
		}
	}
	traced.Close()
	var out bytes.Buffer
	if err := traced.Attach(t.Context(), &out, AttachOptions{}); !errors.Is(err, net.ErrClosed) || out.Len() > 0 {
		t.Errorf("after Close: %v, written %s", err, out.String())
	}
}

// Close ends live recordings, and so does a reader that goes.
func TestAttachEnds(t *testing.T) {
	t.Parallel()
	traced := newAttachable(t, &Options{})
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- traced.Attach(t.Context(), w, AttachOptions{}) }()
	_ = r.CloseWithError(io.ErrClosedPipe)
	if err := tunneltest.Await(t, "Attach", ended); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Attach = %v, want the error of the writer", err)
	}
	live := attach(t, traced, AttachOptions{})
	traced.Close()
	if err := live.end(); err != nil {
		t.Errorf("Attach = %v", err)
	}
}

// A reader that is stuck loses events, and keeps nobody waiting.
func TestAttachStuck(t *testing.T) {
	t.Parallel()
	traced := newAttachable(t, &Options{})
	live := attach(t, traced, AttachOptions{})
	const calls, size = 5000, 10_000
	for range calls {
		passCall(traced, hpack.HeaderField{Name: "large", Value: strings.Repeat("x", size)})
	}
	received := 0
	for {
		l := live.next(t)
		if l.Type == trace.ClientHeader.String() {
			received++
		}
		if l.Lost != nil && l.Lost.Calls > 0 {
			break
		}
		live.text.Reset()
	}
	if received == 0 || received == calls {
		t.Errorf("%d calls were received", received)
	}
	passCall(traced)
	if err := live.end(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Attach = %v, want a deadline", err)
	}
}

// Readers that have come and gone leave nothing.
func TestAttachOften(t *testing.T) {
	t.Parallel()
	traced := newAttachable(t, &Options{})
	stop := make(chan struct{})
	passing := make(chan struct{})
	go func() {
		defer close(passing)
		for {
			passCall(traced)
			select {
			case <-stop:
				return
			case <-time.After(time.Microsecond):
			}
		}
	}()
	for range 300 {
		ctx, cancel := context.WithCancel(t.Context())
		if err := traced.Attach(ctx, writer(func([]byte) { cancel() }), AttachOptions{Messages: true}); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	<-passing
	if n := len(traced.followers); n != 0 {
		t.Errorf("%d followers are left", n)
	}
	if o := traced.Observe()(1)(1, true); o != nil {
		t.Error("a stream is observed")
	}
}

type writer func(p []byte)

func (w writer) Write(p []byte) (int, error) { w(p); return len(p), nil }
