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

// loadSpec is the argument of a load process.
type loadSpec struct {
	Kind       string        // a key of loads
	Addr       string        // to connect to
	Down       bool          // the server sends
	Conns      int           // number of connections
	Concurrent int           // concurrent calls on each connection
	Warmup     time.Duration // before the measurement
	Duration   time.Duration // of the measurement
	Bytes      int           // per connection and direction, or call and direction
}

// loadResult is the result of a load process. Fields that don't apply are 0.
type loadResult struct {
	Bytes    int64         // transferred, including the warm-up
	Rate     float64       // bytes per second
	Calls    int           // including the warm-up
	CallRate float64       // per second
	P50, P99 time.Duration // of a call
	Took     time.Duration // to open the connections
	Failed   int           // connections that broke
	Err      string        // error of the last of these
}

// broken returns an error if connections broke.
func (r loadResult) broken() error {
	if r.Failed == 0 {
		return nil
	}
	return fmt.Errorf("%s broken: %s", plural(r.Failed, "connection"), r.Err)
}

// load runs a spec. It calls report with each result, and next to wait for the measuring
// process.
type load func(ctx context.Context, spec loadSpec, report func(loadResult) error, next func() error) error

// loads are the kinds of load.
var loads = map[string]load{
	"bulk":    bulkLoad,
	"calls":   callsLoad,
	"conns":   connsLoad,
	"stalled": stalledLoad,
}

// loadWarmup is the default of loadSpec.Warmup: about the time in which a connection
// reaches its full rate.
const loadWarmup = 250 * time.Millisecond

// runLoad runs a load process. Its argument is the spec in JSON.
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
			return errors.New("stdin has ended")
		}
		return nil
	})
}

// dialOp connects to the server and sends op.
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
