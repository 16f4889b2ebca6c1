package commands

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/forward"
	"github.com/wstun/wstun/tunnel/wsmux"
)

const defaultListen = "127.0.0.1:50051"

func (p *program) dialCommand() *cli.Command {
	return &cli.Command{
		Name:      "dial",
		Usage:     "be the gRPC client end of a session: local ports for any gRPC client",
		ArgsUsage: "[URL] [-- COMMAND [ARG…]]",
		UsageText: "wstun dial [flags] [URL] [-- COMMAND [ARG…]]",
		Description: "Listens at " + defaultListen + ", or at each --listen ADDR, and carries what connects\n" +
			"there to the gRPC server at the other end. Dials " + defaultURL + ", or the URL, and stays\n" +
			"connected; or accepts WebSockets at --accept ADDR, and uses the newest session.\n\n" +
			"With COMMAND: waits for a session, runs COMMAND with WSTUN_ADDR set to the first local\n" +
			"address, passes signals on to it, and ends with its exit status. stdout is COMMAND's:\n" +
			"addresses, and the events of --output json, are not printed then.",
		Flags: slices.Concat([]cli.Flag{
			stringsFlag("listen", "listen for gRPC clients at `ADDR`: host:port, :port (loopback) or unix:PATH; port 0 picks one; repeatable (default: "+defaultListen+")"),
			durationFlag("wait", "hold a local connection for at most `DURATION` while no session is up", tunnel.DefaultWait),
		}, sessionFlags(), outputFlags()),
		Action: p.dial,
	}
}

// dialing is one run of wstun dial.
type dialing struct {
	endpoint  *endpoint
	out       *output
	local     []net.Listener // for gRPC clients
	accepting net.Listener   // for WebSockets; nil: dialing
	up        chan struct{}  // closed when the first session is up
	ready     chan struct{}  // closed when that has been printed and written to the ready file
	sessions  *tunnel.Sessions
	forwarder *forward.Forwarder
	refusal   *rawBackend // answers a peer that is a gRPC client as well
}

func (p *program) dial(c *cli.Context) error {
	args, err := p.arguments(c, 1)
	if err != nil {
		return err
	}
	if p.hasCommand && first(p.command) == "" {
		return usagef("no command after --")
	}
	e, err := newEndpoint(c, wsmux.Client, first(args), endpoint{url: defaultURL})
	if err != nil {
		return err
	}
	if wait := c.Duration("wait"); wait < 0 {
		return usagef("--wait %v: want 0 or more", wait)
	}
	out, err := p.newOutput(c)
	if err != nil {
		return err
	}
	defer out.ready.remove() //nolint:errcheck // the process ends anyway
	d := &dialing{endpoint: e, out: out, up: make(chan struct{}), ready: make(chan struct{})}
	addrs := c.StringSlice("listen")
	if len(addrs) == 0 {
		addrs = []string{defaultListen}
	}
	catchBrokenPipes()
	ctx, stop := e.watchHangups(c.Context)
	defer stop()
	if err := d.listen(ctx, addrs); err != nil {
		return err
	}
	if err := out.ready.clear(); err != nil {
		return err
	}
	var once sync.Once
	d.refusal = newRefusal(out)
	d.sessions = newSessions(out)
	d.sessions.Subscribe(tunnel.Subscriber{Up: func(s *tunnel.Session) {
		d.refusal.serveStreams(s)
		once.Do(func() { close(d.up) })
	}})
	d.forwarder = &forward.Forwarder{Sessions: d.sessions, Wait: orOff(c.Duration("wait")), Logger: out.logger}
	if p.hasCommand {
		return d.runWith(ctx, p, stop)
	}
	return d.run(ctx)
}

// listen binds all addresses. On error it leaves none bound.
func (d *dialing) listen(ctx context.Context, addrs []string) (err error) {
	defer func() {
		if err != nil {
			for _, l := range d.local {
				_ = l.Close()
			}
		}
	}()
	for _, addr := range addrs {
		l, err := listen(ctx, "--listen", addr)
		if err != nil {
			return err
		}
		d.local = append(d.local, l)
		if !isLoopback(l) {
			d.out.logger.Warn("others can reach this address, and the tunnel through it", slog.String("address", addrOf(l)))
		}
	}
	l, url, err := d.endpoint.listen(ctx, d.out)
	if err != nil {
		return err
	}
	d.accepting = l
	for _, l := range d.local {
		d.out.listening("address", addrOf(l))
	}
	if l != nil {
		d.out.listening("url", url)
	}
	return nil
}

// run forwards until asked ends or there can be no more sessions, and drains.
func (d *dialing) run(asked context.Context) error {
	ctx, cancel := context.WithCancelCause(asked)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, l := range d.local {
		wg.Go(func() { //nolint:contextcheck // a local connection outlives ctx: Shutdown drains it
			if err := d.forwarder.Serve(l); err != nil {
				cancel(err)
			}
		})
	}
	wg.Go(func() {
		select {
		case <-d.up:
			if ctx.Err() == nil && d.setReady() {
				close(d.ready)
			}
		case <-ctx.Done():
		}
	})
	err := d.endpoint.run(ctx, d.accepting, d.sessions, d.out)
	if err == nil && asked.Err() == nil {
		err = context.Cause(ctx) // a listener failed
	}
	cancel(nil)
	d.endpoint.drain(ctx, d.out, d.shutdown)
	wg.Wait()
	return err
}

func (d *dialing) setReady() bool {
	addrs := make([]string, len(d.local))
	for i, l := range d.local {
		addrs[i] = addrOf(l)
	}
	return d.out.setReady(addrs...)
}

// shutdown ends the local connections, each after its calls, and then the
// sessions.
func (d *dialing) shutdown(ctx context.Context) error {
	return errors.Join(d.forwarder.Shutdown(ctx), d.refusal.shutdown(ctx, d.sessions))
}

// runWith runs d and, once a session is up, p's command, until the command ends.
// The end of ctx ends the wait for a session. Afterwards runWith calls stopHangups
// and passes signals on to the command.
func (d *dialing) runWith(ctx context.Context, p *program, stopHangups func()) error {
	tunneling, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	signals := make(chan os.Signal, 8) // before d starts, so that none is lost
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	ended := make(chan error, 1)
	go func() { ended <- d.run(tunneling) }()
	var err error
	select {
	case <-d.ready:
	case err = <-ended:
		return err // there can be no session
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		err = errors.New("stopped before a session was up: the command was not run")
	} else {
		signal.Notify(signals, syscall.SIGQUIT) // not earlier: without a command, SIGQUIT is for wstun
		if !signal.Ignored(syscall.SIGHUP) {
			signal.Notify(signals, syscall.SIGHUP)
		}
		stopHangups()
		err = p.runCommand(addrOf(d.local[0]), signals)
	}
	stop()
	select {
	case terr := <-ended:
		if terr != nil {
			d.out.logger.Error("tunnel", slog.Any("err", terr))
		}
	case <-time.After(d.endpoint.drainTimeout + 3*time.Second): // cutting takes a moment
		d.out.logger.Warn("drain", slog.Any("err", errDrainTimeout))
	}
	return err
}
