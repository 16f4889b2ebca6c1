package stub_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/wstun/wstun/commands/demo"
)

// TestDelays runs on the fake clock of synctest, so the times are exact.
func TestDelays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, client := hub(t, "WatchKeys", `
    delay: 1m
    headers: {x-at: once}
    stream:
      - {delay: 100ms, reply: {deleted: a}}
      - reply: {deleted: b}
      - delay: 2s
    error: {code: ABORTED}
`)
		start := time.Now()
		wantTime := func(event string, want time.Duration) {
			t.Helper()
			if got := time.Since(start); got != want {
				t.Errorf("%s after %v, want %v", event, got, want)
			}
		}
		stream, err := client.WatchKeys(t.Context(), &demo.WatchKeysRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Header(); err != nil {
			t.Fatal(err)
		}
		wantTime("headers", time.Minute)
		for range 2 {
			if _, err := stream.Recv(); err != nil {
				t.Fatal(err)
			}
			wantTime("reply", time.Minute+100*time.Millisecond)
		}
		_, err = stream.Recv()
		wantStatus(t, "Recv", err, codes.Aborted, "")
		wantTime("error", time.Minute+2100*time.Millisecond)
	})
}

// TestCallEnds ends calls while the stub waits.
func TestCallEnds(t *testing.T) {
	t.Parallel()
	for name, rule := range map[string]string{
		"delay":     "    {delay: 1h, reply: {deleted: a}}",
		"stream":    "    stream: [{delay: 1h, reply: {deleted: a}}]",
		"stay_open": "    stay_open: true",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, client := hub(t, "WatchKeys", rule)
				call := func(ctx context.Context, end time.Duration, code codes.Code) {
					start := time.Now()
					stream, err := client.WatchKeys(ctx, &demo.WatchKeysRequest{})
					if err != nil {
						t.Fatal(err)
					}
					_, err = stream.Recv()
					// The message depends on which end notices first.
					if status.Code(err) != code {
						t.Errorf("Recv = %v, want %v", err, code)
					}
					if got := time.Since(start); got != end {
						t.Errorf("call ended after %v, want %v", got, end)
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				call(ctx, time.Minute, codes.DeadlineExceeded)
				ctx, cancel = context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				call(ctx, time.Second, codes.Canceled)
			})
		})
	}
}

// TestClose closes a stub with calls of every kind in flight: those that wait
// indefinitely end, so that GracefulStop returns.
func TestClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		answers, server, conn := serve(t, `
methods:
  wstun.demo.v1.Hub/WatchKeys:
    - {when: {maxEvents: 1}, stream: [{reply: {deleted: a}}], stay_open: true, trailers: {x-end: y}}
    - {stream: [{reply: {deleted: a}}, {delay: 1m, reply: {deleted: b}}], stay_open: true}
  wstun.demo.v1.Hub/Echo:
    - {when: {end: true}, reply: {text: hi}, stay_open: true}
    - {reply: {text: hi}}
  wstun.demo.v1.Hub/Sleep: {delay: 1m, reply: {}}
`, protoregistry.GlobalFiles)
		client := demo.NewHubClient(conn)

		var watches []grpc.ServerStreamingClient[demo.KeyEvent]
		for i := range 2 {
			watch, err := client.WatchKeys(t.Context(), &demo.WatchKeysRequest{MaxEvents: uint32(i)})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := watch.Recv(); err != nil {
				t.Fatal(err)
			}
			watches = append(watches, watch)
		}
		idle, err := client.Echo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		staying, err := client.Echo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for end, stream := range map[bool]grpc.BidiStreamingClient[demo.EchoRequest, demo.EchoResponse]{false: idle, true: staying} {
			if err := stream.Send(&demo.EchoRequest{End: end}); err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); err != nil {
				t.Fatal(err)
			}
		}
		if err := staying.CloseSend(); err != nil {
			t.Fatal(err)
		}
		slept := make(chan error, 1)
		go func() {
			_, err := client.Sleep(t.Context(), &demo.SleepRequest{})
			slept <- err
		}()
		synctest.Wait() // until all calls block

		start := time.Now()
		answers.Close()
		answers.Close()
		const closed = "stub: shutting down"
		_, err = watches[1].Recv()
		wantStatus(t, "watch", err, codes.Unavailable, closed)
		wantMetadata(t, "trailers", watches[1].Trailer(), "x-end", "y")
		_, err = idle.Recv()
		wantStatus(t, "idle echo", err, codes.Unavailable, closed)
		_, err = staying.Recv()
		wantStatus(t, "echo that stays open", err, codes.Unavailable, closed)
		later, err := client.WatchKeys(t.Context(), &demo.WatchKeysRequest{MaxEvents: 1})
		if err != nil {
			t.Fatal(err)
		}
		if event, err := later.Recv(); err != nil || event.GetDeleted() != "a" {
			t.Errorf("reply after Close = %v, %v", event, err)
		}
		_, err = later.Recv()
		wantStatus(t, "watch after Close", err, codes.Unavailable, closed)
		if d := time.Since(start); d != 0 {
			t.Errorf("calls took %v to end", d)
		}

		server.GracefulStop()
		if event, err := watches[0].Recv(); err != nil || event.GetDeleted() != "b" {
			t.Errorf("late reply = %v, %v", event, err)
		}
		_, err = watches[0].Recv()
		wantStatus(t, "watch with a late reply", err, codes.Unavailable, closed)
		if err := <-slept; err != nil {
			t.Errorf("Sleep = %v", err)
		}
		if d := time.Since(start); d != time.Minute {
			t.Errorf("GracefulStop took %v, want 1m", d)
		}
	})
}

// TestStayOpen half-closes a bidirectional call that stays open.
func TestStayOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, client := hub(t, "Echo", "    {reply: {text: hi}, stay_open: true}")
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := client.Echo(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := stream.Send(&demo.EchoRequest{}); err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); err != nil {
				t.Fatal(err)
			}
		}
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Hour, cancel)
		start := time.Now()
		_, err = stream.Recv()
		wantStatus(t, "Recv", err, codes.Canceled, "context canceled")
		if d := time.Since(start); d != time.Hour {
			t.Errorf("call ended after %v, want 1h", d)
		}
	})
}

// TestBidirectionalCallEnds ends bidirectional calls while the stub waits for a request,
// and while requests wait for the stub.
func TestBidirectionalCallEnds(t *testing.T) {
	t.Parallel()
	for name, requests := range map[string]int{"idle": 0, "delay": 1, "queued": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, client := hub(t, "Echo", "    {delay: 1h, reply: {text: hi}}")
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				stream, err := client.Echo(ctx)
				if err != nil {
					t.Fatal(err)
				}
				for range requests {
					if err := stream.Send(&demo.EchoRequest{}); err != nil {
						t.Fatal(err)
					}
				}
				_, err = stream.Recv()
				if got := status.Code(err); got != codes.DeadlineExceeded {
					t.Errorf("Recv = %v, want DEADLINE_EXCEEDED", err)
				}
			})
		})
	}
}
