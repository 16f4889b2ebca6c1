package tunneltest

import "go.uber.org/goleak"

// LingeringHTTP is an option of goleak: not to count the goroutines in which
// net/http's server gives a client time to read why its request is refused. That
// is half a second, and goleak doesn't wait as long.
func LingeringHTTP() goleak.Option {
	return goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait")
}
