package tunneltest

import "time"

// tick is how much time passes at most, for Within, before it looks again.
const tick = 10 * time.Millisecond

// Within waits for event, for d of the time in which this process runs: while a
// busy machine keeps it from running, or it is stopped, no time passes.
func Within[T any](d time.Duration, event <-chan T) (v T, ok bool) {
	ticker := time.NewTicker(tick) // which drops the ticks that come too late
	defer ticker.Stop()
	for ; d > 0; d -= tick {
		select {
		case v := <-event:
			return v, true
		case <-ticker.C:
		}
	}
	return v, false
}
