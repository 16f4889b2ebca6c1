package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// loadSpec is what a load process is to do.
type loadSpec struct {
	Kind       string        // in loads
	Addr       string        // what to connect to
	Down       bool          // the server sends
	Conns      int           // how many connections
	Concurrent int           // calls at a time on each
	Warmup     time.Duration // before the measurement
	Duration   time.Duration // of the measurement
	Bytes      int           // for each connection, each way
}

// loadResult is what came of it, as far as it applies.
type loadResult struct {
	Bytes    int64         // all that were moved, also while warming up
	Rate     float64       // bytes per second
	Calls    int           // all that were made, also while warming up
	CallRate float64       // per second
	P50, P99 time.Duration // of a call
	Took     time.Duration // until all was done
	Failed   int           // connections that broke
	Err      string        // why the last of these did
}

// broken returns an error if connections broke.
func (r loadResult) broken() error {
	if r.Failed == 0 {
		return nil
	}
	return fmt.Errorf("%s broken: %s", plural(r.Failed, "connection"), r.Err)
}

// load does what a spec says. It calls report for each result, and may wait for
// the measuring process with next.
type load func(ctx context.Context, spec loadSpec, report func(loadResult) error, next func() error) error

// loads are the kinds of load.
var loads = map[string]load{
	"bulk":    bulkLoad,
	"calls":   callsLoad,
	"conns":   connsLoad,
	"stalled": stalledLoad,
}

// loadWarmup is what comes before a measurement by default: what a connection
// takes to get going.
const loadWarmup = 250 * time.Millisecond

// runLoad is a load process. Its argument is the spec, as JSON.
func runLoad(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	if err := arguments(args, 1); err != nil {
		return err
	}
	var spec loadSpec
	if err := json.Unmarshal([]byte(args[0]), &spec); err != nil {
		return err
	}
	run, ok := loads[spec.Kind]
	if !ok {
		return fmt.Errorf("no load %q", spec.Kind)
	}
	results := json.NewEncoder(stdout)
	lines := bufio.NewScanner(stdin)
	return run(ctx, spec, func(r loadResult) error { return results.Encode(r) }, func() error {
		if !lines.Scan() {
			return errors.New("no one waits for the result")
		}
		return nil
	})
}

// dialOp connects and says what the server is to do.
func dialOp(ctx context.Context, addr string, op byte) (net.Conn, error) {
	conn, err := dialTCP(ctx, addr)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write([]byte{op}); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}
