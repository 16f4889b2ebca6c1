//go:build unix

package e2e

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/tunnel/trace"
)

// counts has numbers of a recording, for the calls of the demo service.
type counts struct {
	calls   uint64 // that have ended
	bytes   int64  // of their messages
	missing uint64 // of their events
	lost    trace.Losses

	events map[uint64]uint64 // so far, of the open calls
}

func (n *counts) add(l *recording.Line) {
	e := l.ToEvent()
	switch {
	case e == nil:
	case e.Type == trace.Lost:
		n.lost.Add(e.Lost)
	case strings.HasPrefix(e.Method, "/wstun.demo.v1.Hub/"):
		n.bytes += int64(len(e.Data))
		n.events[e.Call]++
		if e.IsEnd() {
			n.calls++
			n.missing += uint64(e.Seq) - n.events[e.Call]
			delete(n.events, e.Call)
		}
	}
}

// While nothing reads a recording, calls continue. Its queue of 128 MiB first has no room for
// bodies, then for events, and then for calls. All that is missing is counted.
func TestRecordNotRead(t *testing.T) {
	skipWithRace(t)
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip(err)
	}
	serve := startDaemon(t, "wstun", "serve", "--accept", "127.0.0.1:0")
	dial := startDaemon(t, "wstun", "dial", "--listen", "127.0.0.1:0", "--record", pipe, serve.find(t, `^ws://\S+$`))
	r, err := os.Open(pipe)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cc, err := grpc.NewClient("passthrough:///"+dial.find(t, `^127\.0\.0\.1:\d+$`), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	c := hubClient{demo.NewHubClient(cc)}

	made := counts{calls: 1}
	stream, send := c.echo(t.Context(), t)
	for text := strings.Repeat("x", 2<<20); made.bytes < 80<<20; {
		response := send(text, false)
		made.bytes += int64(proto.Size(&demo.EchoRequest{Text: text}) + proto.Size(response))
	}
	finish(t, stream)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-padding", strings.Repeat("~", 60<<10)) // 64 MiB of this fill the queue
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 150 {
				if _, err := c.Sleep(ctx, &demo.SleepRequest{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	clients.Wait()
	made.calls += 8 * 150
	if peak := residentPeak(t, dial.cmd.Process.Pid); peak > 400<<20 && len(raceFlags) == 0 {
		t.Errorf("it took %d MiB", peak>>20)
	}

	recorded := counts{events: map[uint64]uint64{}}
	lines := recording.NewReader(r)
	next := func() bool {
		l, err := lines.Next()
		if err == nil {
			recorded.add(l)
		} else if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		return err == nil
	}
	for recorded.calls+recorded.lost.Calls < made.calls && next() {
	}
	// Now that it has been read, calls are recorded again.
	lost := recorded.lost.Calls
	if _, err := c.Sleep(ctx, &demo.SleepRequest{}); err != nil {
		t.Fatal(err)
	}
	made.calls++
	_ = dial.cmd.Process.Signal(os.Interrupt)
	for next() {
	}
	all := recorded.lost
	if all.Bytes == 0 || all.Events == 0 || all.Calls == 0 || all.Calls != lost {
		t.Errorf("lost %+v, want some of each, and %d calls", all, lost)
	}
	if recorded.bytes+all.Bytes != made.bytes || recorded.missing != all.Events || recorded.calls+all.Calls != made.calls || len(recorded.events) > 0 {
		t.Errorf("recorded %+v, made %+v", recorded, made)
	}
	dial.find(t, `level=WARN msg="the recording is incomplete" lost="\d+ calls, `)
}
