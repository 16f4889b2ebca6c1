package tunneltest

import (
	"context"
	"testing"
	"time"
)

// Patience is how long a test waits for an event. It is long, because it only passes
// when a test fails.
const Patience = time.Minute

// Await waits for event, and fails the test after Patience.
func Await[T any](t *testing.T, what string, event <-chan T) T {
	t.Helper()
	select {
	case v := <-event:
		return v
	case <-time.After(Patience):
		t.Fatalf("%s: nothing for %v", what, Patience)
		panic("unreachable") //nolint:forbidigo // Fatalf doesn't return
	}
}

// Soon returns a context that ends after Patience.
func Soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	return ctx
}

// Ended returns a context that has ended.
func Ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
