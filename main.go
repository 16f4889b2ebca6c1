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

// run ends in order at the first SIGINT or SIGTERM. From then on signals do
// what they do by default, so that a second one doesn't wait.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return commands.Main(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr)
}
