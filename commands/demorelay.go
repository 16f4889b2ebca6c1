package commands

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/wstun/wstun/commands/backend"
	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/forward"
	"github.com/wstun/wstun/tunnel/limit"
	"github.com/wstun/wstun/tunnel/relay"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// demoWorkers are the names of the Workers of wstun demo --relay.
var demoWorkers = []string{"worker-1", "worker-2", "worker-3"}

// demoRelay is wstun demo with a relay, which accepts on websockets at url. The engineer
// listens at local.
func (p *program) demoRelay(ctx context.Context, o *demoOptions, websockets, local net.Listener, url string) error {
	r := relay.New(relay.Options{})
	acceptor := tunnel.NewAcceptor(&tunnel.Sessions{}, tunnel.AcceptOptions{
		LoopbackHost: true,
		Upgrade:      r.Upgrade,
		Plain:        r.Handler(&tunnel.Guard{LoopbackHost: true}),
	})
	running, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { _ = acceptor.Serve(websockets) })

	var shutdown []func(context.Context) error
	for _, name := range demoWorkers {
		hub := backend.NewDemo(limit.New(nil)) //nolint:contextcheck // making descriptors isn't interrupted
		sessions := &tunnel.Sessions{}
		sessions.Subscribe(tunnel.Subscriber{Up: hub.ServeStreams})
		c := demoConnector(url, name, relay.Serve, sessions)
		wg.Go(func() { _ = c.Run(running) })
		shutdown = append(shutdown, func(ctx context.Context) error {
			return errors.Join(hub.Shutdown(ctx, sessions), sessions.Shutdown(ctx))
		})
	}
	engineer := &tunnel.Sessions{}
	forwarder := &forward.Forwarder{Sessions: engineer}
	c := demoConnector(url, demoWorkers[0], relay.Dial, engineer)
	wg.Go(func() { _ = forwarder.Serve(local) }) //nolint:contextcheck // Shutdown ends it
	wg.Go(func() { _ = c.Run(running) })

	fmt.Fprintf(p.stdout, "Relay at %s with the workers %s, gRPC to %s at %s\n", url, strings.Join(demoWorkers, ", "), demoWorkers[0], endpoint.Addr(local))
	err := p.runDemo(ctx, o, local, func() {
		awaitWorkers(ctx, r)
		p.printRelayExamples(url)
	})
	stop()
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err = errors.Join(err, forwarder.Shutdown(ending), engineer.Shutdown(ending))
	for _, f := range shutdown {
		err = errors.Join(err, f(ending))
	}
	r.Close()
	err = errors.Join(err, acceptor.Shutdown(ending))
	wg.Wait()
	return err
}

// demoConnector returns a Connector that dials a Worker at a relay, or is that Worker.
func demoConnector(url, name string, role relay.Role, sessions *tunnel.Sessions) *tunnel.Connector {
	opts := &tunnel.DialOptions{Proxy: "none", Subprotocols: []string{string(role)}}
	if role == relay.Serve {
		opts.Session.Role = wsmux.Server
		opts.Header = http.Header{relay.InstanceHeader: {endpoint.NewInstance()}}
	}
	return &tunnel.Connector{URL: strings.TrimSuffix(url, "/") + relay.Path("", name), Options: opts, Sessions: sessions, MaxRetries: -1}
}

// awaitWorkers waits until all Workers have arrived, or ctx ends.
func awaitWorkers(ctx context.Context, r *relay.Relay) {
	const interval = 10 * time.Millisecond
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for r.Totals().Now.Names < len(demoWorkers) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (p *program) printRelayExamples(url string) {
	fmt.Fprint(p.stdout, "\nTry in another terminal, as an engineer:\n")
	for _, line := range []string{
		"workers " + url,
		"list --to " + demoWorkers[1] + " " + url,
		"call --to " + demoWorkers[2] + " -d '{\"text\":\"hi\"}' " + url + " Hub/Echo",
	} {
		fmt.Fprintf(p.stdout, "  wstun %s\n", line)
	}
}
