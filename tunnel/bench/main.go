// Command bench measures wstun as its users run it: as processes, over
// loopback, beside the least that two processes in the path can cost and beside
// other tunnels.
//
//	go run ./tunnel/bench                                # about a quarter of an hour
//	go run ./tunnel/bench -rounds 3 -work 'bulk|call-1$' # a part of it
//	go run ./tunnel/bench -wstun old=/tmp/old -wstun new=/tmp/new
//	go run ./tunnel/bench -chisel chisel -frps frps -frpc frpc -full -tls -markdown
//
// What is measured is always
//
//	load ▸ near process ▸ far process ▸ server
//
// where the two in the middle are a system: wstun dial and wstun serve --raw, a
// pair of plain TCP proxies that copy in user space, the pair with TLS in
// between, yamux on TCP, and chisel and frp if they are there. "Up" is from the
// load to the server: with wstun, from the dialing side, whose frames are
// masked. "Down" is the other way.
//
// In each round every system does each work once, in random order. A result is
// the median over the rounds; a ratio is the median of the rounds' ratios,
// because what else the machine does changes from round to round. The pair runs
// twice, as pair and as pair2: how far the two are apart is how far any two
// figures may be by chance, and there is a warning if that is over 10 %.
//
// On Linux as root, everything runs in a network namespace of its own with the
// congestion control reno: BBR, a common default, paces even loopback, and
// halves it. -netns=false turns that off. CPU time and memory are measured on
// Linux only; elsewhere their columns are empty.
//
// The processes end with this one, also at Ctrl-C. To compare with chisel or
// frp, build them from their sources and have them on PATH, or name them.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := &program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	return p.main(ctx, args)
}
