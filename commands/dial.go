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

	"github.com/wstun/wstun/commands/admin"
	"github.com/wstun/wstun/commands/backend"
	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/inspect"
	"github.com/wstun/wstun/commands/tracing"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/forward"
	"github.com/wstun/wstun/tunnel/wsmux"
)

const defaultListen = "127.0.0.1:50051"

func (p *program) dialCommand() *cli.Command {
	o := &dialOptions{}
	return &cli.Command{
		Name:      "dial",
		Usage:     "be the gRPC client end of a session: a local port for clients",
		ArgsUsage: "[URL] [-- COMMAND [ARG…]]",
		UsageText: "wstun dial [flags] [URL] [-- COMMAND [ARG…]]",
		Description: "Listens at " + defaultListen + ", or at each --listen ADDR, and forwards connections\n" +
			"there to the gRPC server at the other end. Dials " + endpoint.DefaultURL + ", or the URL, and stays\n" +
			"connected; or accepts WebSockets at --accept ADDR, and uses the newest session.\n\n" +
			"With COMMAND: waits for a session, runs COMMAND with WSTUN_ADDR set to the first local\n" +
			"address, passes signals on to it, and ends with its exit status. stdout is COMMAND's:\n" +
			"addresses, and the events of --output json, are not printed then. On stderr,\n" +
			"wstun prints only warnings, unless --log-level is given.",
		Flags: slices.Concat([]cli.Flag{
			usage.Strings(&o.listen, "listen", "listen for gRPC clients at `ADDR`; repeatable (default: "+defaultListen+")"),
			usage.Duration(&o.wait, "wait", "hold a local connection for at most `DURATION` while no session is up", tunnel.DefaultWait),
			o.readyTimeout.flag(),
		}, o.endpoint.EngineerFlags(), o.endpoint.SessionFlags(), o.trace.Flags(), o.descriptors.TraceFlags(), o.admin.flags(), o.admin.page.callFlags(), o.output.flags()),
		Action: action(p, o, p.dial),
	}
}

// dialOptions are the values of the command line of wstun dial.
type dialOptions struct {
	listen      []string
	wait        time.Duration
	endpoint    endpoint.Options
	trace       tracing.Options
	descriptors backend.Descriptors // for the trace
	admin       adminOptions
	output      outputOptions

	readyTimeout readyTimeout
}

func (o *dialOptions) parse(in *invocation) (err error) {
	o.endpoint.Given, o.endpoint.Secrets, o.trace.Given, o.admin.given = in.given, in.secrets, in.given, in.given
	o.endpoint.DefaultURL = endpoint.DefaultURL
	if o.endpoint.URL, err = in.url(); err != nil {
		return err
	}
	if len(o.listen) == 0 {
		o.listen = []string{defaultListen}
	}
	if err := o.readyTimeout.check(); err != nil {
		return err
	}
	if err := o.admin.check(); err != nil {
		return err
	}
	return usage.NotNegative("wait", o.wait)
}

func (p *program) dial(ctx context.Context, o *dialOptions) error {
	if p.hasCommand && (len(p.command) == 0 || p.command[0] == "") {
		return usage.Errorf("no command after --")
	}
	if p.hasCommand && !p.given.Set("log-level") {
		o.output.log.level = "warn" // the rest of stderr is COMMAND's
	}
	out, err := p.newOutput("dial", &o.output)
	if err != nil {
		return err
	}
	e, err := endpoint.New(&o.endpoint, wsmux.Client)
	if err != nil {
		return err
	}
	defer out.ready.remove() //nolint:errcheck // the process ends anyway
	e.LimitUnread(backend.DefaultUnreadLimit())
	sessions := out.newSessions()
	local, err := o.descriptors.Load() //nolint:contextcheck // compiling files isn't interrupted
	if err != nil {
		return err
	}
	traced, err := p.startTrace(ctx, &o.trace, out, o.endpoint.TokenHeader, reflection.FromSet(local), &sessionFinder{sessions})
	if err != nil {
		return err
	}
	defer traced.Close() //nolint:contextcheck // ctx has ended then
	e.Observe(traced.Observe())
	d := &dialing{endpoint: e, out: out, up: make(chan struct{}), ready: make(chan struct{})}
	catchBrokenPipes()
	ctx, stop := e.WatchHangups(ctx)
	defer stop()
	if err := d.listen(ctx, o.listen); err != nil {
		return err
	}
	var once sync.Once
	d.refusal = backend.NewRefusal(out.logger)
	d.sessions = sessions
	d.sessions.Subscribe(tunnel.Subscriber{Up: func(s *tunnel.Session) {
		traced.Forget()
		d.refusal.ServeStreams(s)
		once.Do(func() { close(d.up) })
	}})
	d.forwarder = &forward.Forwarder{Sessions: d.sessions, Wait: endpoint.OrOff(o.wait), Secrets: o.endpoint.Secrets, Trace: traced.Tracer(), Logger: out.logger}
	stopAnswers, err := d.startAnswers(ctx, p, o, traced, local)
	if err != nil {
		d.close()
		return err
	}
	defer stopAnswers()
	o.readyTimeout.apply(ctx, out, sessions)
	if p.hasCommand {
		return d.runWith(ctx, p, stop)
	}
	return d.run(ctx)
}

// dialing is one run of wstun dial.
type dialing struct {
	endpoint  *endpoint.Endpoint
	out       *output
	local     []net.Listener // for gRPC clients
	accepting net.Listener   // for WebSockets; nil: dialing
	up        chan struct{}  // closed when the first session is up
	ready     chan struct{}  // closed once readiness is printed and in the ready file
	sessions  *tunnel.Sessions
	forwarder *forward.Forwarder
	refusal   backend.Backend // answers a peer that is a gRPC client as well
}

// listenAll listens for gRPC clients at the addresses of --listen. On error it leaves none
// bound.
func listenAll(ctx context.Context, addrs []string, logger *slog.Logger) (all []net.Listener, err error) {
	for _, addr := range addrs {
		l, err := endpoint.Listen(ctx, "--listen", addr)
		if err != nil {
			closeAll(all)
			return nil, err
		}
		all = append(all, l)
		if !endpoint.IsLoopback(l) {
			logger.Warn("others can reach this address, and the tunnel through it", slog.String("address", endpoint.Addr(l)))
		}
	}
	return all, nil
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		_ = l.Close()
	}
}

// listen binds all addresses, removes an old ready file, and then reports the addresses.
// On error it leaves none bound.
func (d *dialing) listen(ctx context.Context, addrs []string) (err error) {
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if d.local, err = listenAll(ctx, addrs, d.out.logger); err != nil {
		return err
	}
	l, url, err := d.endpoint.Listen(ctx, d.out.logger)
	if err != nil {
		return err
	}
	d.accepting = l
	if err := d.out.ready.prepare(); err != nil {
		return err
	}
	for _, l := range d.local {
		d.out.listening("address", endpoint.Addr(l))
	}
	if l != nil {
		d.out.listening("url", url)
		d.out.monitor.SetBound()
	}
	return nil
}

// startAnswers starts to answer questions about d, and its page, until stop is called.
func (d *dialing) startAnswers(ctx context.Context, p *program, o *dialOptions, traced *tracing.Tracing, local *reflection.Set) (stop func(), err error) {
	m := d.out.monitor
	m.Accepting, m.Calls, m.Ended, m.Lost = d.accepting != nil, d.forwarder.Calls, d.forwarder.Ended(), traced.Lost
	m.OwnExpires = func() time.Time { return d.endpoint.Expires(d.out.logger) }
	opts := &inspect.Options{Catalog: reflection.NewCatalog(reflection.FromSet(local), &sessionFinder{d.sessions}), Target: o.endpoint.URL}
	if o.admin.page.calls {
		opts.Conn = newSessionConns(d.sessions).conn
	}
	pg, err := p.startPage(&o.admin, d.out, o.trace.Redact, o.endpoint.TokenHeader, traced, opts)
	if err != nil {
		return nil, err
	}
	d.sessions.Subscribe(tunnel.Subscriber{Up: func(*tunnel.Session) { pg.forget() }})
	answers, err := p.startAdmin(ctx, &o.admin, &admin.Admin{Attach: traced.Attach, Reconnect: d.forwarder.Reconnect, Page: pg.web()}, d.out)
	if err != nil {
		pg.close()
		return nil, err
	}
	answers.report(d.out)
	return func() {
		answers.close(ctx)
		pg.close()
	}, nil
}

// close closes the listeners.
func (d *dialing) close() {
	closeAll(d.local)
	if d.accepting != nil {
		_ = d.accepting.Close()
	}
}

// run forwards until parent ends or there can be no more sessions, and drains.
func (d *dialing) run(parent context.Context) error {
	ctx, cancel := context.WithCancelCause(parent)
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
	limitMemory()
	go trimMemory(ctx)
	d.out.systemdReady()
	err := d.endpoint.Run(ctx, d.accepting, d.sessions, d.out.logger, d.out.retry)
	if err == nil && parent.Err() == nil {
		err = context.Cause(ctx) // a listener failed
	}
	cancel(nil)
	d.out.drain(parent, d.endpoint.DrainTimeout, func() int { return len(d.forwarder.Calls()) }, d.shutdown)
	wg.Wait()
	return err
}

func (d *dialing) setReady() bool {
	addrs := make([]string, len(d.local))
	for i, l := range d.local {
		addrs[i] = endpoint.Addr(l)
	}
	to := "the newest session"
	if d.accepting == nil {
		to = endpoint.Redact(d.endpoint.URL)
	}
	return d.out.setReady(to, addrs...)
}

// shutdown ends the local connections, each after its calls, and then the
// sessions.
func (d *dialing) shutdown(ctx context.Context) error {
	return errors.Join(d.forwarder.Shutdown(ctx), d.refusal.Shutdown(ctx, d.sessions))
}

// runWith runs d and, once a session is up, p's command, until the command ends. If ctx
// ends first, it returns an error and doesn't run the command. It passes signals on to
// the command; before, it calls stopHangups, so that SIGHUP is only the command's.
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
	if cause := context.Cause(ctx); cause != nil {
		if err = cause; errors.Is(cause, context.Canceled) {
			err = errors.New("stopped before a session was up: the command was not run")
		}
	} else {
		signal.Notify(signals, syscall.SIGQUIT) // not earlier: without a command, SIGQUIT is for wstun
		if !signal.Ignored(syscall.SIGHUP) {
			signal.Notify(signals, syscall.SIGHUP)
		}
		stopHangups()
		err = p.runCommand(endpoint.Addr(d.local[0]), signals)
	}
	stop()
	select {
	case terr := <-ended:
		if terr != nil {
			d.out.logger.Error("tunnel", slog.Any("err", terr))
		}
	case <-time.After(d.endpoint.DrainTimeout + 3*time.Second): // Shutdown needs a moment to cut the rest
		d.out.logger.Warn("drain", slog.Any("err", errDrainTimeout))
	}
	return err
}
