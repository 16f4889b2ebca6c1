package demo_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/wstun/wstun/commands/demo"
)

func TestWatchKeys(t *testing.T) {
	t.Parallel()
	hub, _, client := start(t)
	create(t, hub, "b", "c", "a")
	stream, names := watch(t, client, &demo.WatchKeysRequest{MaxEvents: 3})
	if want := []string{"a", "b", "c"}; !slices.Equal(names, want) {
		t.Errorf("snapshot = %v, want %v", names, want)
	}
	create(t, hub, "d")
	for _, name := range []string{"a", "d", "b"} {
		if _, err := client.DeleteKey(t.Context(), &demo.DeleteKeyRequest{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"+d", "-a", "-d"} {
		if got := brief(recv(t, stream)); got != want {
			t.Errorf("event = %s, want %s", got, want)
		}
	}
	if event, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after max_events Recv = %v, %v, want EOF", event, err)
	}
}

func TestWatchTicks(t *testing.T) {
	t.Parallel()
	_, _, client := start(t)
	stream, _ := watch(t, client, &demo.WatchKeysRequest{MaxEvents: 3, Tick: durationpb.New(time.Millisecond)})
	for range 3 {
		event := recv(t, stream)
		// Later ticks may have earlier times: the clock may be set back.
		if ago := time.Since(event.GetTick().AsTime()); brief(event) != "tick" || ago.Abs() > time.Hour {
			t.Errorf("event = %v, want a tick of now", event)
		}
	}
	if event, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after max_events Recv = %v, %v, want EOF", event, err)
	}
}

// TestWatchOrder starts watches while keys are created and deleted. The events of
// each watch must continue its snapshot, and all watches must have the same events.
func TestWatchOrder(t *testing.T) {
	t.Parallel()
	hub, _, client := start(t)
	// In total fewer events than a watcher's buffer holds.
	const writers, rounds, watchers, last = 4, 40, 8, "last"
	var writing, watching sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range rounds {
				name := fmt.Sprintf("%d/%02d", w, i)
				if _, err := client.CreateKey(t.Context(), &demo.CreateKeyRequest{Name: name}); err != nil {
					t.Error(err)
				}
				if i%2 == 1 {
					continue
				}
				if _, err := client.DeleteKey(t.Context(), &demo.DeleteKeyRequest{Name: name}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	events := make([][]string, watchers)
	for w := range watchers {
		watching.Go(func() {
			stream, err := client.WatchKeys(t.Context(), &demo.WatchKeysRequest{})
			if err != nil {
				t.Error(err)
				return
			}
			keys := make(map[string]bool)
			for !keys[last] {
				event, err := stream.Recv()
				if err != nil {
					t.Error(err)
					return
				}
				for _, key := range event.GetSnapshot().GetKeys() {
					keys[key.Name] = true
				}
				if event.GetSnapshot() != nil {
					continue
				}
				change, name := brief(event)[0], brief(event)[1:]
				if keys[name] != (change == '-') {
					t.Errorf("watcher %d: %v, but the key exists: %v", w, event, keys[name])
				}
				keys[name] = change == '+'
				events[w] = append(events[w], brief(event))
			}
			for w := range writers {
				for i := range rounds {
					if name := fmt.Sprintf("%d/%02d", w, i); keys[name] != (i%2 == 1) {
						t.Errorf("at the end key %s exists: %v", name, keys[name])
					}
				}
			}
		})
	}
	writing.Wait()
	create(t, hub, last)
	watching.Wait()

	longest := slices.MaxFunc(events, func(a, b []string) int { return len(a) - len(b) })
	for w, got := range events {
		if want := longest[len(longest)-len(got):]; !slices.Equal(got, want) {
			t.Errorf("watcher %d: events = %v, want %v", w, got, want)
		}
	}
}

func TestWatchTooSlow(t *testing.T) {
	t.Parallel()
	// Otherwise the flow-control window grows until all events fit.
	hub, _, client := start(t, grpc.WithStaticStreamWindowSize(64<<10))
	slow, _ := watch(t, client, &demo.WatchKeysRequest{})
	fast, _ := watch(t, client, &demo.WatchKeysRequest{})
	name := strings.Repeat("n", 128)
	const changes = 4000
	for i := range changes {
		want := "+" + name
		if i%2 == 0 {
			create(t, hub, name)
		} else {
			want = "-" + name
			if _, err := hub.DeleteKey(t.Context(), &demo.DeleteKeyRequest{Name: name}); err != nil {
				t.Fatal(err)
			}
		}
		if got := brief(recv(t, fast)); got != want {
			t.Fatalf("the fast watcher's event %d = %s, want %s", i, got, want)
		}
	}
	for i := 0; ; i++ {
		event, err := slow.Recv()
		if err != nil {
			wantError(t, err, codes.ResourceExhausted, "the watcher fell 256 changes behind", nil)
			if i < 256 || i >= changes {
				t.Errorf("the slow watcher got %d events of %d, want 256 at least and not all", i, changes)
			}
			return
		}
		if got, want := brief(event), "+-"[i%2:i%2+1]+name; got != want {
			t.Fatalf("the slow watcher's event %d = %s, want %s", i, got, want)
		}
	}
}

func TestWatchCancelled(t *testing.T) {
	t.Parallel()
	_, server, client := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := client.WatchKeys(ctx, &demo.WatchKeysRequest{})
	if err != nil {
		t.Fatal(err)
	}
	recv(t, stream)
	cancel()
	if event, err := stream.Recv(); status.Code(err) != codes.Canceled {
		t.Errorf("after the cancel Recv = %v, %v, want Canceled", event, err)
	}
	server.GracefulStop() // waits for WatchKeys to return
}

func TestClose(t *testing.T) {
	t.Parallel()
	hub, server, client := start(t)
	echo, err := client.Echo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var watches []grpc.ServerStreamingClient[demo.KeyEvent]
	for range 3 {
		stream, _ := watch(t, client, &demo.WatchKeysRequest{})
		watches = append(watches, stream)
	}
	create(t, hub, "before")
	var closing sync.WaitGroup
	for range 3 {
		closing.Go(hub.Close)
	}
	closing.Wait()
	create(t, hub, "after")

	for _, stream := range watches {
		if got := brief(recv(t, stream)); got != "+before" {
			t.Errorf("event before Close = %s, want +before", got)
		}
		_, err := stream.Recv()
		wantError(t, err, codes.Unavailable, "the demo Hub is shutting down", nil)
	}
	refused, err := client.WatchKeys(t.Context(), &demo.WatchKeysRequest{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = refused.Recv()
	wantError(t, err, codes.Unavailable, "the demo Hub is shutting down", nil)

	// GracefulStop now waits only for Echo, which still works.
	var stopping sync.WaitGroup
	stopping.Go(server.GracefulStop)
	defer stopping.Wait()
	if err := echo.Send(&demo.EchoRequest{Text: "still here", End: true}); err != nil {
		t.Fatal(err)
	}
	if got := recv(t, echo); got.Text != "still here" {
		t.Errorf("Echo after Close = %v", got)
	}
	if _, err := echo.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end of Echo Recv = %v, want EOF", err)
	}
}
