package tunneltest

import "time"

// tick is the unit in which Within counts time.
const tick = 10 * time.Millisecond

// Within waits for event for the duration d. Time during which this process doesn't run,
// because the machine is busy or the process is stopped, doesn't count.
func Within[T any](d time.Duration, event <-chan T) (v T, ok bool) {
	ticker := time.NewTicker(tick) // drops ticks for a slow receiver
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
