package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/tunnel/wsmux"
)

const method = "/any.Service/Method"

// TestHeadersFirst has a caller that waits for the response headers before it sends, and
// an upstream that sends them before it receives.
func TestHeadersFirst(t *testing.T) {
	t.Parallel()
	cc := proxyClient(t, serveRaw(t, func(s grpc.ServerStream) error {
		if err := s.SendHeader(metadata.Pairs("first", "header")); err != nil {
			return err
		}
		return echo(s)
	}))
	s := open(t.Context(), t, cc, method)
	md, err := s.Header()
	if err != nil || len(md["first"]) != 1 {
		t.Fatalf("Header() = %v, %v", md, err)
	}
	send(t, s, "after")
	if got, err := receive(s); got != "after" || err != nil {
		t.Fatalf("received %q, %v", got, err)
	}
	_ = s.CloseSend()
	if _, err := receive(s); !errors.Is(err, io.EOF) {
		t.Fatalf("the call ended with %v", err)
	}
}

// TestHalfClose has an upstream that answers only after the half-close.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	cc := proxyClient(t, serveRaw(t, func(s grpc.ServerStream) error {
		var all []string
		for {
			m, err := receive(s)
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return err
			}
			all = append(all, m)
		}
		for range 2 {
			if err := s.SendMsg(newRawMessage([]byte(strings.Join(all, ",")))); err != nil {
				return err
			}
		}
		return nil
	}))
	s := open(t.Context(), t, cc, method)
	for _, m := range []string{"a", "", "b", ""} {
		send(t, s, m)
	}
	_ = s.CloseSend()
	for range 2 {
		if got, err := receive(s); got != "a,,b," || err != nil {
			t.Fatalf("received %q, %v", got, err)
		}
	}
	if _, err := receive(s); !errors.Is(err, io.EOF) {
		t.Fatalf("the call ended with %v", err)
	}
}

// TestUpstreamEndsFirst has an upstream that ends the call before the caller half-closes.
func TestUpstreamEndsFirst(t *testing.T) {
	t.Parallel()
	for _, want := range []codes.Code{codes.OK, codes.FailedPrecondition} {
		cc := proxyClient(t, serveRaw(t, func(s grpc.ServerStream) error {
			if _, err := receive(s); err != nil {
				return err
			}
			return status.Error(want, "enough")
		}))
		s := open(t.Context(), t, cc, method)
		send(t, s, "one")
		_, err := receive(s)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		if status.Code(err) != want {
			t.Fatalf("the call ended with %v, want %v", err, want)
		}
	}
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	got := make(chan time.Duration, 1)
	cc := proxyClient(t, serveRaw(t, func(s grpc.ServerStream) error {
		d, ok := s.Context().Deadline()
		if !ok {
			d = time.Now()
		}
		got <- time.Until(d)
		<-s.Context().Done()
		return status.FromContextError(s.Context().Err()).Err()
	}))
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	s := open(ctx, t, cc, method)
	if d := wait(t, got, "deadline"); d < 59*time.Minute || d > time.Hour {
		t.Errorf("the upstream has %v, want an hour", d)
	}
	cancel()
	if _, err := receive(s); status.Code(err) != codes.Canceled {
		t.Errorf("after a cancel: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := invoke(ctx, cc, method, nil); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("after the deadline: %v", err)
	}
}

// TestCancel cancels calls at every stage and expects the upstream's call to be cancelled.
func TestCancel(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{})
	ended := make(chan error, 1)
	cc := proxyClient(t, serveRaw(t, func(s grpc.ServerStream) error {
		begun <- struct{}{}
		err := echo(s)
		<-s.Context().Done()
		ended <- err
		return err
	}))
	stages := map[string]func(t *testing.T, s grpc.ClientStream){
		"begun": func(*testing.T, grpc.ClientStream) {},
		"message": func(t *testing.T, s grpc.ClientStream) {
			t.Helper()
			send(t, s, "x")
			if _, err := receive(s); err != nil {
				t.Fatal(err)
			}
		},
		"half-closed": func(t *testing.T, s grpc.ClientStream) {
			t.Helper()
			send(t, s, "x")
			if _, err := receive(s); err != nil {
				t.Fatal(err)
			}
			_ = s.CloseSend()
		},
	}
	for name, stage := range stages {
		ctx, cancel := context.WithCancel(t.Context())
		s := open(ctx, t, cc, method)
		wait(t, begun, "call at the upstream")
		stage(t, s)
		cancel()
		err := wait(t, ended, "cancel at the upstream")
		if name != "half-closed" && status.Code(err) != codes.Canceled {
			t.Errorf("%s: the upstream saw %v", name, err)
		}
		if _, err := receive(s); status.Code(err) != codes.Canceled {
			t.Errorf("%s: the caller saw %v", name, err)
		}
	}
}

// TestUpstreamCancels has the upstream's handler end with Canceled.
func TestUpstreamCancels(t *testing.T) {
	t.Parallel()
	cc := proxyClient(t, serveRaw(t, func(grpc.ServerStream) error { return status.Error(codes.Canceled, "mine") }))
	_, err := invoke(t.Context(), cc, method, nil)
	if st := status.Convert(err); st.Code() != codes.Canceled || st.Message() != "mine" {
		t.Errorf("got %v", err)
	}
}

func TestMessageSizes(t *testing.T) { //nolint:paralleltest // see TestMain
	cc := proxyClient(t, serveRaw(t, echo))
	for _, size := range []int{0, 1, 1 << 20, 5 << 20, wsmux.MaxMsgSize} {
		req := bytes.Repeat([]byte{'x'}, size)
		got, err := invoke(t.Context(), cc, method, req)
		if err != nil || !bytes.Equal(got, req) {
			t.Fatalf("%d bytes: received %d, %v", size, len(got), err)
		}
	}
}

func TestMessageTooLarge(t *testing.T) { //nolint:tparallel // see TestMain
	big := make([]byte, wsmux.MaxMsgSize+1)
	t.Run("request", func(t *testing.T) {
		t.Parallel()
		cc := proxyClient(t, serveRaw(t, echo))
		if _, err := invoke(t.Context(), cc, method, big); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("got %v", err)
		}
	})
	t.Run("response", func(t *testing.T) {
		t.Parallel()
		cc := proxyClient(t, serveRaw(t, func(s grpc.ServerStream) error { return s.SendMsg(newRawMessage(big)) }, grpc.MaxSendMsgSize(2*wsmux.MaxMsgSize)))
		if _, err := invoke(t.Context(), cc, method, nil); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("got %v", err)
		}
	})
}
