// Command wstun puts gRPC clients and servers onto the WebSocket session
// between a Hub and its Workers. See README.md, or run wstun --help.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/wstun/wstun/commands"
)

func main() { os.Exit(run()) }

// run ends in order at the first SIGINT or SIGTERM. From then on signals have
// their default effect, so that a second one ends the process at once.
func run() int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		signal.Stop(signals)
		cancel()
	}()
	return commands.Main(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr)
}
