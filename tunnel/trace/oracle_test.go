package trace

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
)

// piece is a part of a connection, as it arrived.
type piece struct {
	sender Side
	bytes  []byte
}

// readCapture returns the connections of a capture. Its records are: the connection's
// number (4 bytes), the sender (1), a time (8), the length (4), and the bytes.
func readCapture(t *testing.T, path string) map[uint32][]piece {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	conns := map[uint32][]piece{}
	const headerLen = 17
	for len(all) >= headerLen {
		id, n := binary.BigEndian.Uint32(all), headerLen+binary.BigEndian.Uint32(all[13:])
		conns[id] = append(conns[id], piece{Side(all[4]), all[headerLen:n]})
		all = all[n:]
	}
	return conns
}

// reference decodes a connection with x/net's Framer. The lines for each call are those
// of Event.String, without the number of the call.
type reference struct {
	lines  map[uint32][]string // by HTTP/2 stream
	open   map[uint32]bool
	isGRPC map[uint32]bool
	http   map[uint32]string // the HTTP status and content type
	bodies map[string][]byte
}

// decode decodes whole frames: those that end in a piece are handled at its end.
func (r *reference) decode(t *testing.T, pieces []piece) {
	t.Helper()
	type frame struct {
		end    int
		handle func()
	}
	var frames [2][]frame
	for _, sender := range []Side{Client, Server} {
		var all []byte
		for _, p := range pieces {
			if p.sender == sender {
				all = append(all, p.bytes...)
			}
		}
		in := bytes.NewReader(all)
		if sender == Client {
			_, _ = io.CopyN(io.Discard, in, int64(len(http2.ClientPreface)))
		}
		f := http2.NewFramer(io.Discard, in)
		f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		f.ReadMetaHeaders.SetAllowedMaxDynamicTableSize(64 << 10)
		f.MaxHeaderListSize = 1 << 20
		f.SetMaxReadFrameSize(1<<24 - 1)
		for {
			x, err := f.ReadFrame()
			if err != nil {
				break
			}
			if handle := r.frame(sender, x); handle != nil {
				frames[sender] = append(frames[sender], frame{len(all) - in.Len(), handle})
			}
		}
	}
	var done [2]int
	for _, p := range pieces {
		done[p.sender] += len(p.bytes)
		for len(frames[p.sender]) > 0 && frames[p.sender][0].end <= done[p.sender] {
			frames[p.sender][0].handle()
			frames[p.sender] = frames[p.sender][1:]
		}
	}
}

// frame returns the function that handles a frame, with copies of its contents.
func (r *reference) frame(sender Side, x http2.Frame) func() {
	stream := x.Header().StreamID
	switch x := x.(type) {
	case *http2.MetaHeadersFrame:
		fields, ended := slices.Clone(x.Fields), x.StreamEnded()
		return func() { r.headers(sender, stream, fields, ended) }
	case *http2.DataFrame:
		p, ended := bytes.Clone(x.Data()), x.StreamEnded()
		return func() { r.data(sender, stream, p, ended) }
	case *http2.RSTStreamFrame:
		code := x.ErrCode
		return func() {
			if r.open[stream] {
				r.end(stream, fmt.Sprintf("cancel by %s: %v", sender, code)+r.http[stream])
			}
		}
	}
	return nil
}

func (r *reference) add(stream uint32, line string) { r.lines[stream] = append(r.lines[stream], line) }

func (r *reference) end(stream uint32, line string) {
	r.add(stream, line)
	delete(r.open, stream)
}

func (r *reference) headers(sender Side, stream uint32, fields []hpack.HeaderField, ended bool) {
	pseudo, metadata := map[string]string{}, ""
	for _, f := range fields {
		pseudo[f.Name] = f.Value
		if f.Sensitive && !isProtocol(f.Name) {
			f.Value = Redacted
		}
		if !f.IsPseudo() {
			metadata += " " + f.Name + "=" + f.Value
		}
	}
	status := pseudo[":status"]
	switch {
	case sender == Client && r.lines[stream] == nil:
		r.open[stream], r.isGRPC[stream] = true, strings.HasPrefix(pseudo["content-type"], "application/grpc")
		r.add(stream, "client_header "+pseudo[":path"]+metadata)
		if ended {
			r.add(stream, "client_half_close")
		}
	case !r.open[stream], sender == Client:
	case ended:
		if status != "" {
			r.http[stream] = " HTTP " + status + " " + pseudo["content-type"]
		}
		line := "server_trailer" + metadata
		if code, err := strconv.Atoi(pseudo["grpc-status"]); err == nil {
			line += " " + codes.Code(code).String()
		} else {
			line += r.http[stream]
		}
		if pseudo["grpc-message"] != "" {
			line += fmt.Sprintf(" %q", unescapeMessage(pseudo["grpc-message"]))
		}
		r.end(stream, line)
	case strings.HasPrefix(status, "1"):
	default:
		r.http[stream] = " HTTP " + status + " " + pseudo["content-type"]
		r.add(stream, "server_header"+metadata)
	}
}

func (r *reference) data(sender Side, stream uint32, p []byte, ended bool) {
	if !r.open[stream] {
		return
	}
	if r.isGRPC[stream] {
		key := fmt.Sprint(sender, stream)
		b := append(r.bodies[key], p...)
		for len(b) >= 5 && len(b)-5 >= int(binary.BigEndian.Uint32(b[1:])) {
			n := binary.BigEndian.Uint32(b[1:])
			r.add(stream, fmt.Sprintf("%s_message %d %x", sender, n, crc32.ChecksumIEEE(b[5:5+n])))
			b = b[5+n:]
		}
		r.bodies[key] = b
	}
	switch {
	case ended && sender == Client:
		r.add(stream, "client_half_close")
	case ended:
		r.end(stream, "server_trailer"+r.http[stream])
	}
}

// compare compares the events of a connection with those of x/net's Framer: whole, and in
// pieces whose length the function cut returns. It returns the number of events.
func compare(t *testing.T, pieces []piece, cut func() int) int {
	t.Helper()
	want := &reference{map[uint32][]string{}, map[uint32]bool{}, map[uint32]bool{}, map[uint32]string{}, map[string][]byte{}}
	want.decode(t, pieces)
	tracer, events := newTracer(t, 1<<30, Output{Body: -1, Queue: 1 << 30, IsSecret: func(string) bool { return false }})
	c := newConn(tracer, 1, 1)
	streams := slices.Sorted(maps.Keys(want.lines)) // in the order of their calls
	for _, p := range pieces {
		for rest := p.bytes; len(rest) > 0; {
			n := min(len(rest), cut())
			q := bytes.Clone(rest[:n])
			d := &c.client
			if p.sender == Server {
				d = &c.server
			}
			if err := c.scan(d, q); err != nil {
				t.Fatal(err)
			}
			for i := range q {
				q[i] = 0xee // nothing may be kept
			}
			rest = rest[n:]
		}
	}
	for stream := range want.open {
		want.add(stream, fmt.Sprintf("cut%s %q", want.http[stream], "the end"))
	}
	c.close("the end")
	got := map[uint32][]string{}
	n := 0
	for _, e := range events() {
		if e.Call == 0 {
			continue
		}
		n++
		if int(e.Call) > len(streams) {
			t.Fatalf("%s: one call too many", e.String())
		}
		_, line, _ := strings.Cut(e.String(), " ")
		stream := streams[e.Call-1]
		if got[stream] = append(got[stream], line); int(e.Seq) != len(got[stream]) {
			t.Errorf("%s: an event is missing", e.String())
		}
	}
	for stream, lines := range want.lines {
		for i, line := range lines {
			if i >= len(got[stream]) || got[stream][i] != line {
				t.Fatalf("stream %d, event %d:\ngot  %.300q\nwant %.300q", stream, i, got[stream][min(i, len(got[stream])):], lines[i:])
			}
		}
	}
	if len(got) != len(want.lines) {
		t.Errorf("%d calls, want %d", len(got), len(want.lines))
	}
	return n
}

func whole() int { return 1 << 30 }

func TestCaptures(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.cap.gz")
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			n := 0
			for id, pieces := range readCapture(t, file) {
				n += compare(t, pieces, whole)
				rnd := rand.New(rand.NewPCG(1, uint64(id)))
				compare(t, pieces, func() int { return 1 + rnd.IntN(7) })
			}
			t.Logf("%d events are equal", n)
			if n == 0 {
				t.Error("no events")
			}
		})
	}
}
