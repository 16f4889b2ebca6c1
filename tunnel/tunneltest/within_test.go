package tunneltest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

func TestWithin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		event := make(chan int, 1)
		began := time.Now()
		if _, ok := tunneltest.Within(time.Second, event); ok || time.Since(began) != time.Second {
			t.Errorf("Within(1s) without an event = %v after %v", ok, time.Since(began))
		}
		time.AfterFunc(time.Second/2, func() { event <- 7 })
		if v, ok := tunneltest.Within(time.Second, event); v != 7 || !ok {
			t.Errorf("Within(1s) with an event = %d, %v", v, ok)
		}
	})
}
