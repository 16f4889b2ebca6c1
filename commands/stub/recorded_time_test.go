package stub_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/tunnel/trace"
)

// TestRecordedDelays runs on the fake clock of synctest, so the times are exact. A tape has a
// second between events.
func TestRecordedDelays(t *testing.T) {
	t.Parallel()
	for name, delay := range map[string]time.Duration{"delays": time.Second, "no delays": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tp := newTape()
				tp.unary("CreateKey", &demo.CreateKeyRequest{}, key("a"))
				tp.call("WatchKeys").request(&demo.WatchKeysRequest{}).halfClose().header().
					response(deleted("a")).response(deleted("b")).end(status.New(codes.Aborted, ""))
				tp.call("Echo").request(&demo.EchoRequest{}).response(&demo.EchoResponse{}).request(&demo.EchoRequest{}).response(&demo.EchoResponse{})
				_, client := tp.serve(t, delay > 0)

				start := time.Now()
				wantTime := func(event string, events int) {
					t.Helper()
					if got, want := time.Since(start), time.Duration(events)*delay; got != want {
						t.Errorf("%s after %v, want %v", event, got, want)
					}
				}
				if _, err := client.CreateKey(t.Context(), &demo.CreateKeyRequest{}); err != nil {
					t.Error(err)
				}
				wantTime("CreateKey", 3)

				start = time.Now()
				watch, err := client.WatchKeys(t.Context(), &demo.WatchKeysRequest{})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := watch.Header(); err != nil {
					t.Error(err)
				}
				wantTime("headers", 1)
				for i := range 2 {
					if _, err := watch.Recv(); err != nil {
						t.Error(err)
					}
					wantTime("message", 2+i)
				}
				_, err = watch.Recv()
				wantStatus(t, "Recv", err, codes.Aborted, "")
				wantTime("end", 4)

				echo, err := client.Echo(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for range 2 {
					start = time.Now()
					_ = echo.Send(&demo.EchoRequest{})
					if _, err := echo.Recv(); err != nil {
						t.Error(err)
					}
					wantTime("echo", 1)
				}
			})
		})
	}
}

func deleted(name string) *demo.KeyEvent {
	return &demo.KeyEvent{Event: &demo.KeyEvent_Deleted{Deleted: name}}
}

// Calls without an end in the recording, and those that the client ended or that were cut,
// stay open.
func TestRecordedStaysOpen(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(c *recordedCall){
		"open": func(*recordedCall) {},
		"cancelled": func(c *recordedCall) {
			c.event(trace.Cancel, func(l *recording.Line) { l.By, l.Code = "client", "CANCEL" })
		},
		"cut": func(c *recordedCall) { c.event(trace.Cut, func(l *recording.Line) { l.Reason = "session lost" }) },
		"deadline": func(c *recordedCall) {
			c.event(trace.Cancel, func(l *recording.Line) { l.By, l.Code, l.Timeout, l.Duration = "server", "CANCEL", 10, 10.1 })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tp := newTape()
				end(tp.call("WatchKeys").request(&demo.WatchKeysRequest{}).response(deleted("a")))
				end(tp.call("Echo").request(&demo.EchoRequest{}).response(&demo.EchoResponse{Text: "a"}))
				answers, client := tp.serve(t, false)

				watch, err := client.WatchKeys(t.Context(), &demo.WatchKeysRequest{})
				if err != nil {
					t.Fatal(err)
				}
				event, err := watch.Recv()
				wantMessage(t, "Recv", event, err, deleted("a"))
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				echo, err := client.Echo(ctx)
				if err != nil {
					t.Fatal(err)
				}
				_ = echo.Send(&demo.EchoRequest{})
				text, err := echo.Recv()
				wantMessage(t, "Recv", text, err, &demo.EchoResponse{Text: "a"})
				_ = echo.CloseSend()
				if _, err := echo.Recv(); status.Code(err) != codes.DeadlineExceeded {
					t.Errorf("Recv = %v", err)
				}
				answers.Close()
				_, err = watch.Recv()
				wantStatus(t, "Recv", err, codes.Unavailable, "stub: shutting down")
			})
		})
	}
}

// A half-close chooses calls with a half-close.
func TestRecordedHalfClose(t *testing.T) {
	t.Parallel()
	tp := newTape()
	tp.call("Echo").request(&demo.EchoRequest{})
	tp.call("Echo").request(&demo.EchoRequest{}).halfClose().response(&demo.EchoResponse{Text: "a"}).ok()
	_, client := tp.serve(t, false)
	for range 2 {
		echo, err := client.Echo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_ = echo.Send(&demo.EchoRequest{})
		_ = echo.CloseSend()
		text, err := echo.Recv()
		wantMessage(t, "Recv", text, err, &demo.EchoResponse{Text: "a"})
		if _, err := echo.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("Recv = %v", err)
		}
	}
}
