package replay

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/tunnel/trace"
)

// A call whose deadline had passed gets the same one, whichever side has ended it.
func TestDeadline(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*taped){
		"by the client":              func(c *taped) { c.cancel(trace.Client, 20) },
		"by the server":              func(c *taped) { c.cancel(trace.Server, 20) },
		"by the server, with status": func(c *taped) { c.end(codes.DeadlineExceeded, "context deadline exceeded") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tp := newTape(t)
			end(tp.call("Sleep", deadline(20)).send(&demo.SleepRequest{Duration: durationpb.New(time.Minute)}).half())
			if out := tp.replay(serveHub(t), nil); out.summary.Same != 1 {
				t.Error(out.text)
			}
		})
	}
}

// Some servers send a message with OK, which clients don't get.
func TestMessageOfOK(t *testing.T) {
	t.Parallel()
	tp := newTape(t)
	tp.call("Sum").half().receive(&demo.SumResponse{}).end(codes.OK, "OK")
	if out := tp.replay(serveHub(t), nil); out.summary.Same != 1 {
		t.Error(out.text)
	}
}
