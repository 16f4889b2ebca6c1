// Command bench measures wstun as processes over loopback, and compares it with two
// minimal proxies and with other tunnels.
//
//	go run ./tunnel/bench                                # about a quarter of an hour
//	go run ./tunnel/bench -rounds 3 -work 'bulk|call-1$' # a part of it
//	go run ./tunnel/bench -wstun old=/tmp/old -wstun new=/tmp/new
//	go run ./tunnel/bench -chisel chisel -frps frps -frpc frpc -full -tls -markdown
//
// The setup is always
//
//	load ▸ near process ▸ far process ▸ server
//
// The two processes in the middle are the system under test: wstun dial and wstun serve
// --raw, also with one or two wstun relay between them, a pair of TCP proxies that copy in
// user space, the same pair with TLS between them, yamux on TCP, and chisel and frp if they
// are installed. "Up" is from the load to
// the server: with wstun, from the dialing side, which masks its frames. "Down" is the
// opposite direction.
//
// In each round, every system runs each workload once, in random order. A result is the
// median over the rounds. A ratio is the median of the rounds' ratios, because the
// other load of the machine varies between rounds. The pair is measured twice, as pair
// and as pair2: the difference shows the random error, and there is a warning if it is
// over 10 %.
//
// On Linux as root, everything runs in its own network namespace with the congestion
// control reno, because BBR, a common default, paces even loopback, which halves the
// throughput. -netns=false turns that off. CPU time and memory are measured on Linux
// only; elsewhere their columns are empty.
//
// All processes end with this one, also after Ctrl-C. To compare with chisel or frp,
// build them from source and put them on PATH, or use their flags.
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
