package commands

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/admin"
	"github.com/wstun/wstun/commands/backend"
	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/inspect"
	"github.com/wstun/wstun/commands/monitor"
	"github.com/wstun/wstun/commands/tracing"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/wsmux"
)

func (p *program) serveCommand() *cli.Command {
	o := &serveOptions{}
	return &cli.Command{
		Name:      "serve",
		Usage:     "be the gRPC server end of a session",
		ArgsUsage: "[URL]",
		UsageText: "wstun serve [flags] [URL]",
		Description: "Serves the gRPC server at each --upstream ADDR, the answers in a --stub FILE, or, without\n" +
			"either, the demo Hub; in addition reflection, health and channelz. Accepts WebSockets at\n" +
			endpoint.DefaultAccept + ", or at --accept ADDR, or dials the URL and stays connected.",
		Flags:  slices.Concat(o.backend.Flags(), o.endpoint.SessionFlags(), o.endpoint.WorkerFlags(), []cli.Flag{o.readyTimeout.flag()}, o.trace.Flags(), o.admin.flags(), o.output.flags()),
		Action: action(p, o, p.serve),
	}
}

// serveOptions are the values of the command line of wstun serve.
type serveOptions struct {
	endpoint endpoint.Options
	backend  backend.Options
	trace    tracing.Options
	admin    adminOptions
	output   outputOptions

	readyTimeout readyTimeout
}

func (o *serveOptions) parse(in *invocation) (err error) {
	o.endpoint.Given, o.backend.Given, o.trace.Given, o.admin.given = in.given, in.given, in.given, in.given
	o.endpoint.Secrets, o.backend.Secrets = in.secrets, in.secrets
	o.backend.ExpandHeaders = o.endpoint.ExpandHeaders
	o.endpoint.DefaultAccept = endpoint.DefaultAccept
	if o.endpoint.URL, err = in.url(); err != nil {
		return err
	}
	if err := o.admin.check(); err != nil {
		return err
	}
	return o.readyTimeout.check()
}

// served names the servers that answer the calls.
func (o *serveOptions) served() string {
	switch {
	case o.backend.Stub != "":
		return "the stub " + o.backend.Stub
	case len(o.backend.Upstreams) > 0:
		return strings.Join(o.backend.Upstreams, ", ")
	}
	return "the demo Hub"
}

func (p *program) serve(ctx context.Context, o *serveOptions) error {
	out, err := p.newOutput("serve", &o.output)
	if err != nil {
		return err
	}
	e, err := endpoint.New(&o.endpoint, wsmux.Server)
	if err != nil {
		return err
	}
	defer out.ready.remove() //nolint:errcheck // the process ends anyway
	limitMemory()
	b, err := backend.New(ctx, &o.backend, out.logger)
	if err != nil {
		return err
	}
	e.LimitUnread(o.backend.UnreadLimit())
	traced, err := p.startTrace(ctx, &o.trace, out, o.endpoint.TokenHeader, b.Finders()...)
	if err != nil {
		return err
	}
	defer traced.Close() //nolint:contextcheck // ctx has ended then
	e.Observe(traced.Observe())
	ctx, stop := e.WatchHangups(ctx)
	defer stop()
	l, url, err := e.Listen(ctx, out.logger)
	if err != nil {
		return err
	}
	if err := out.ready.prepare(); err != nil {
		return err
	}
	m := out.monitor
	m.Accepting, m.Calls, m.Ended, m.Lost = l != nil, b.Calls, b.Ended(), traced.Lost
	m.OwnExpires = func() time.Time { return e.Expires(out.logger) }
	if proxy, ok := b.(interface{ Upstreams() []monitor.Upstream }); ok {
		m.Upstreams = proxy.Upstreams
	}
	pg, err := p.startPage(&o.admin, out, o.trace.Redact, o.endpoint.TokenHeader, traced, &inspect.Options{Catalog: reflection.NewCatalog(b.Finders()...)})
	if err != nil {
		return err
	}
	defer pg.close()
	answers, err := p.startAdmin(ctx, &o.admin, &admin.Admin{Attach: traced.Attach, Reconnect: b.Reconnect, Page: pg.web()}, out)
	if err != nil {
		return err
	}
	defer answers.close(ctx)
	catchBrokenPipes()
	go trimMemory(ctx)
	var once sync.Once
	sessions := out.newSessions()
	sessions.Subscribe(tunnel.Subscriber{Up: func(s *tunnel.Session) {
		b.ServeStreams(s)
		if l == nil {
			once.Do(func() { out.setReady(o.served(), endpoint.Redact(e.URL)) })
		}
	}})
	if l != nil {
		out.listening("url", url)
	}
	answers.report(out)
	if l != nil {
		out.setReady(o.served(), url)
		m.SetBound()
	}
	o.readyTimeout.apply(ctx, out, sessions)
	out.systemdReady()
	err = e.Run(ctx, l, sessions, out.logger, out.retry)
	out.drain(ctx, e.DrainTimeout, func() int { return len(b.Calls()) }, func(ctx context.Context) error { return b.Shutdown(ctx, sessions) })
	return err
}
