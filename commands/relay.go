package commands

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/admin"
	"github.com/wstun/wstun/commands/backend"
	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/relay"
	"github.com/wstun/wstun/tunnel/wsmux"
)

const (
	defaultPace = 10 * time.Second

	// maxHold is less than the time that a handshake may take.
	maxHold = 25 * time.Second
)

// takeovers are the values of --takeover.
var takeovers = []string{"newest", "never"}

func (p *program) relayCommand() *cli.Command {
	o := &relayOptions{}
	return &cli.Command{
		Name:      "relay",
		Usage:     "be where workers and engineers meet that can only dial out",
		UsageText: "wstun relay [flags]",
		Description: "Accepts workers (wstun serve --name NAME URL) and engineers (wstun dial, call, list,\n" +
			"describe, shell or check --to NAME URL), at " + endpoint.DefaultAccept + " or --accept ADDR, and forwards\n" +
			"the streams of an engineer to the worker. All engineers share the session of a worker.\n\n" +
			"--policy FILE says which tokens may serve and dial which names. It is YAML:\n\n" +
			"  tokens:\n" +
			"    - name: eu-workers         # for the audit\n" +
			"      sha256: 5f3c…            # printf %s \"$TOKEN\" | sha256sum\n" +
			"      serve: ['eu-*']\n" +
			"    - name: alice\n" +
			"      sha256: 9b1d…\n" +
			"      dial: ['*']\n" +
			"      max-sessions: 10         # at a time, at each relay\n" +
			"      max-streams: 100         # of each session\n" +
			"  certificates:                # of clients, with --cacert, in place of tokens\n" +
			"    - name: bob.example        # a DNS name in the certificate\n" +
			"      dial: ['*']\n" +
			"  issuers:                     # of JWTs (OpenID Connect), see the reference\n" +
			"    - name: github\n" +
			"      issuer: https://token.actions.githubusercontent.com\n" +
			"      audience: wss://relay.example\n" +
			"      rules:\n" +
			"        - name: deploys\n" +
			"          match: {repository: acme/hub, ref: refs/heads/main}\n" +
			"          dial: ['eu-*']\n\n" +
			"With certificates, also an empty list, a certificate may serve the workers that its DNS\n" +
			"names name. When the file changes, sessions that it doesn't allow any more end within a\n" +
			"second, with close code 4403. Those of a JWT or a certificate end with 4401 when it\n" +
			"expires.\n\n" +
			"Several relays share their workers with --directory URL, a NATS server: each one sends the\n" +
			"handshake of an engineer on to the one that has the worker, and any load balancer will do.\n\n" +
			"When stopped, it tells the workers to dial again, over --drain-pace, and stays up until\n" +
			"they have left, or no stream is open, or --drain-timeout is over.",
		Flags: slices.Concat(o.endpoint.RelayFlags(), []cli.Flag{
			usage.String(&o.tokenHeader, "token-header", "expect the token in the header `NAME`, not in Authorization: Bearer", ""),
			usage.Bool(&o.allowUnauthenticated, "allow-unauthenticated", "accept on other than loopback addresses without --policy"),
			usage.Path(&o.policy, "policy", "let in only the tokens in `PATH`, for the names there"),
			usage.Path(&o.audit, "audit", "append a JSON object for each session, stream and refusal to `PATH`"),
			usage.Duration(&o.hold, "hold", "hold a dial to a worker that isn't connected for at most `DURATION`", relay.DefaultHold),
			usage.String(&o.takeover, "takeover", "give the name of a worker to the `newest` of two instances; never: refuse the newer one", takeovers[0]),
			usage.Duration(&o.pace, "drain-pace", "tell all workers to dial again within `DURATION` when stopped", defaultPace),
		}, o.directory.flags(), o.admin.serverFlags(), o.output.flags()),
		Action: action(p, o, p.relay),
	}
}

// relayOptions are the values of the command line of wstun relay.
type relayOptions struct {
	endpoint             endpoint.Options
	tokenHeader          string
	allowUnauthenticated bool
	policy, audit        string
	admin                adminOptions
	takeover             string
	hold, pace           time.Duration
	directory            directoryOptions
	output               outputOptions
}

func (o *relayOptions) parse(in *invocation) error {
	o.endpoint.Given, o.endpoint.Secrets, o.admin.given = in.given, in.secrets, in.given
	o.endpoint.DefaultAccept, o.endpoint.Window = endpoint.DefaultAccept, "auto"
	o.endpoint.AllowUnauthenticated = true // see guard
	if _, err := in.arguments(0); err != nil {
		return err
	}
	if err := o.admin.check(); err != nil {
		return err
	}
	if err := usage.OneOf("takeover", o.takeover, takeovers...); err != nil {
		return err
	}
	if o.hold > maxHold {
		return usage.Errorf("--hold %v: want at most %v", o.hold, maxHold)
	}
	if err := o.directory.parse(&o.endpoint, o.takeover); err != nil {
		return err
	}
	return errors.Join(usage.NotNegative("hold", o.hold), usage.NotNegative("drain-pace", o.pace))
}

// guard returns an error if the relay would be open to the users of other machines.
func (o *relayOptions) guard(loopback bool) error {
	if loopback || o.policy != "" || o.allowUnauthenticated {
		return nil
	}
	return &usage.Error{
		Err:    errors.New("--accept " + o.endpoint.Accept + ": anyone who reaches this address could be any worker, and reach all of them"),
		Advice: "give the tokens that may with --policy, or use --allow-unauthenticated",
	}
}

func (p *program) relay(ctx context.Context, o *relayOptions) error {
	out, err := p.newOutput("relay", &o.output)
	if err != nil {
		return err
	}
	e, err := endpoint.New(&o.endpoint, wsmux.Client)
	if err != nil {
		return err
	}
	access, err := o.newAccess(out.logger) //nolint:contextcheck // reading a file with keys can't be canceled
	if err != nil {
		return err
	}
	defer out.ready.remove() //nolint:errcheck // the process ends anyway
	limitMemory()
	audit, err := openAudit(o.audit, out.logger)
	if err != nil {
		return err
	}
	defer audit.close()
	ctx, stop := e.WatchHangups(ctx)
	defer stop()
	l, url, err := e.Listen(ctx, out.logger)
	if err != nil {
		return err
	}
	if err := errors.Join(o.guard(endpoint.IsLoopback(l)), out.ready.prepare()); err != nil {
		_ = l.Close()
		return err
	}
	catchBrokenPipes()
	go trimMemory(ctx)
	m := out.monitor
	accept := e.AcceptOptions(out.logger)
	accept.Session.Unread = backend.DefaultUnreadLimit()
	opts := relay.Options{
		Base:      strings.TrimSuffix(o.endpoint.Path, "/"),
		Hold:      endpoint.OrOff(o.hold),
		KeepFirst: o.takeover == "never",
		Authorize: access.authorize(),
		Session:   accept.Session,
		Logger:    out.logger,
	}
	closeDirectory, err := o.directory.apply(&opts, &o.endpoint, url, out.logger)
	if err != nil {
		_ = l.Close()
		return err
	}
	defer closeDirectory()
	opts.Observe = func(rec relay.Record) {
		audit.write(opts.ID, &rec)
		m.RelayEnded(&rec)
	}
	r := relay.New(opts)
	m.Accepting, m.Relay = true, r
	m.OwnExpires = func() time.Time { return e.TLS.Expires(out.logger) }
	answers, err := p.startAdmin(ctx, &o.admin, &admin.Admin{}, out)
	if err != nil {
		_ = l.Close()
		return err
	}
	defer answers.close(ctx)
	go access.watch(ctx, r)
	accept.Path, accept.CurrentToken, accept.Upgrade = "", nil, r.Upgrade
	accept.Plain = access.handler(r.Handler(&tunnel.Guard{Origins: accept.Origins, LoopbackHost: accept.LoopbackHost, Logger: out.logger}))
	acceptor := tunnel.NewAcceptor(&tunnel.Sessions{}, accept)
	out.listening("url", url)
	answers.report(out)
	out.setReady("workers", url)
	out.systemdReady()
	m.SetBound()
	failed := make(chan error, 1)
	go func() { failed <- acceptor.Serve(l) }()
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	streams := func() int {
		_, n := r.Count()
		return n
	}
	out.drain(ctx, e.DrainTimeout, streams, func(ctx context.Context) error {
		r.Drain(ctx, o.pace)
		return nil
	})
	return errors.Join(err, acceptor.Shutdown(ctx))
}
