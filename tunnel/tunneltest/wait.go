package tunneltest

import (
	"context"
	"testing"
	"time"
)

// Patience is how long a test waits for an event. It is long, because only a failing
// test waits for so long.
const Patience = time.Minute

// Await waits for event and returns its value. It fails the test after Patience, with
// name in the message.
func Await[T any](t *testing.T, name string, event <-chan T) T {
	t.Helper()
	select {
	case v := <-event:
		return v
	case <-time.After(Patience):
		t.Fatalf("%s: no event within %v", name, Patience)
		panic("unreachable") //nolint:forbidigo // Fatalf doesn't return
	}
}

// Eventually waits until done returns true. It fails the test after Patience, with name in
// the message.
func Eventually(t *testing.T, name string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(Patience); !done(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", Patience, name)
		}
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
