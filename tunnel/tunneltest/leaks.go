package tunneltest

import "go.uber.org/goleak"

// LingeringHTTP is an option of goleak that ignores the goroutines in which http.Server
// waits half a second before it closes a connection whose request it refused. goleak
// doesn't wait as long.
func LingeringHTTP() goleak.Option {
	return goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait")
}
