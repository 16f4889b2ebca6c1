package proxy

import (
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
)

// A sender of flowCount messages to a receiver that doesn't read can send at most
// flowBound of them: those that fit into the windows of two hops.
const (
	flowSize  = 64 << 10
	flowCount = 1600 // 100 MiB
	flowBound = 640  // 40 MiB
)

// flood sends all messages and counts them.
func flood(s interface{ SendMsg(any) error }, sent *atomic.Int64) error {
	b := make([]byte, flowSize)
	for range flowCount {
		if err := s.SendMsg(newRawMessage(b)); err != nil {
			return err
		}
		sent.Add(1)
	}
	return nil
}

// wantStalled waits until sent stops growing, and checks that it is within flowBound.
func wantStalled(t *testing.T, sent *atomic.Int64) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for last, same := int64(-1), 0; same < 15; same++ {
		<-tick.C
		if n := sent.Load(); n != last || n == 0 {
			last, same = n, 0
		}
	}
	if n := sent.Load(); n > flowBound {
		t.Errorf("%d messages of %d bytes were sent to a peer that does not read, want at most %d", n, flowSize, flowBound)
	}
}

// drain receives and counts messages until the end.
func drain(s interface{ RecvMsg(any) error }) (n int, err error) {
	for {
		if _, err := receive(s); errors.Is(err, io.EOF) {
			return n, nil
		} else if err != nil {
			return n, err
		}
		n++
	}
}

func TestSlowCaller(t *testing.T) { //nolint:paralleltest // see TestMain
	var sent atomic.Int64
	cc := proxyClient(t, serveRaw(t, func(s grpc.ServerStream) error { return flood(s, &sent) }))
	s := open(t.Context(), t, cc, method)
	_ = s.CloseSend()
	if _, err := s.Header(); err != nil {
		t.Fatal(err)
	}
	wantStalled(t, &sent)
	if n, err := drain(s); n != flowCount || err != nil {
		t.Errorf("received %d, %v", n, err)
	}
}

func TestSlowUpstream(t *testing.T) { //nolint:paralleltest // see TestMain
	var sent atomic.Int64
	read := make(chan struct{})
	received := make(chan int, 1)
	cc := proxyClient(t, serveRaw(t, func(s grpc.ServerStream) error {
		<-read
		n, err := drain(s)
		received <- n
		return err
	}))
	s := open(t.Context(), t, cc, method)
	done := make(chan error, 1)
	go func() { done <- flood(s, &sent) }()
	wantStalled(t, &sent)
	close(read)
	if err := wait(t, done, "end of sending"); err != nil {
		t.Fatal(err)
	}
	_ = s.CloseSend()
	if n := wait(t, received, "end of receiving"); n != flowCount {
		t.Errorf("the upstream received %d", n)
	}
	if _, err := receive(s); !errors.Is(err, io.EOF) {
		t.Errorf("the call ended with %v", err)
	}
}
