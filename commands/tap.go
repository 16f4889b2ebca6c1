package commands

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/admin"
	"github.com/wstun/wstun/commands/backend"
	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/inspect"
	"github.com/wstun/wstun/commands/monitor"
	"github.com/wstun/wstun/commands/tracing"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/forward"
	"github.com/wstun/wstun/tunnel/tap"
	"github.com/wstun/wstun/tunnel/wsmux"
)

func (p *program) tapCommand() *cli.Command {
	o := &tapOptions{}
	return &cli.Command{
		Name:      "tap",
		Usage:     "stand between a Hub and a Worker and show every RPC",
		ArgsUsage: "URL",
		UsageText: "wstun tap [flags] URL",
		Description: "Accepts the WebSockets of one side at " + endpoint.DefaultAccept + ", or at --accept ADDR, dials the\n" +
			"other side at the URL, and relays every byte. Prints the RPCs on stdout as they happen.\n\n" +
			"Handshakes are passed on as they are, with their credentials, except for the Host and the\n" +
			"path, which are those of the URL, and the offer of extensions, which is left out. TLS ends\n" +
			"here on both sides, so client certificates aren't passed on. A token of the tap's own is\n" +
			"demanded from the side that dials, and sent to the other one.\n\n" +
			"With --to, the URL is that of a relay, and the tap reaches the worker for the side that\n" +
			"dials.",
		Flags: slices.Concat([]cli.Flag{
			usage.String(&o.accept.Accept, "accept", "accept WebSockets at `ADDR` (default: "+endpoint.DefaultAccept+")", ""),
			usage.String(&o.accept.Path, "path", "accept only at this `PATH`", ""),
			o.dial.ToFlag(),
			usage.Strings(&o.dial.Header, "header", "add the header `'Name: value'` to the handshakes, in place of one with this name; repeatable", "H"),
			usage.Bool(&o.dial.ExpandHeaders, "expand-headers", "replace ${VARIABLE} in headers by its value"),
			usage.Path(&o.accept.TokenFile, "token-file", "demand and send the token in `PATH`, or WSTUN_TOKEN (default: pass credentials on)"),
			usage.String(&o.accept.TokenHeader, "token-header", "use the header `NAME` for the token, not Authorization: Bearer", ""),
			usage.Path(&o.accept.TLS.Cert, "cert", "accept wss with the certificate in `PATH`"),
			usage.Path(&o.accept.TLS.Key, "key", "private key `PATH` of --cert"),
			usage.Path(&o.accept.TLS.CACert, "cacert", "demand client certificates of the authority in `PATH`"),
			usage.Path(&o.target.CACert, "target-cacert", "trust the authority in `PATH` for the certificate of the URL's host"),
			usage.Path(&o.target.Cert, "target-cert", "client certificate `PATH` for the URL's host"),
			usage.Path(&o.target.Key, "target-key", "private key `PATH` of --target-cert"),
			usage.String(&o.target.ServerName, "target-servername", "expect the certificate of the URL's host to be for `NAME`", ""),
			usage.Bool(&o.accept.AllowUnauthenticated, "allow-unauthenticated", "accept on other than loopback addresses without token and client certificates, although the tap adds credentials of its own"),
			usage.Bool(&o.target.Insecure, "target-insecure", "don't verify the certificate of the URL's host"),
			usage.String(&o.dial.Proxy, "proxy", "dial through the proxy `URL`, or none (default: HTTPS_PROXY, HTTP_PROXY, NO_PROXY)", ""),
			usage.Strings(&o.accept.Origins, "origin", "let in handshakes of browsers with this `ORIGIN`, such as https://hub.example, * for any; repeatable"),
			usage.Int(&o.accept.MaxSessions, "max-sessions", "relay at most `N` sessions at a time; 0 for no limit", 1024),
			usage.Seconds(&o.dial.ConnectTimeout, "connect-timeout", "give up on a dial after `TIME`, in seconds or as 1m30s; 0 for never", tunnel.DefaultConnectTimeout),
			usage.Strings(&o.listen, "listen", "let gRPC clients at `ADDR` into the sessions, which are then not relayed byte by byte; repeatable"),
			usage.String(&o.accept.YamuxRole, "yamux-role", "with --listen: the yamux `ROLE` of the side that dials, client or server, and so that of gRPC", wsmux.Client.String()),
			usage.Bool(&o.keepExtensions, "keep-extensions", "pass the offer of extensions on; compressed messages are then not decoded"),
		}, o.trace.PrintFlags(), o.descriptors.TraceFlags(), o.admin.flags(), o.output.flags()),
		Action: action(p, o, p.tap),
	}
}

// tapOptions are the values of the command line of wstun tap.
type tapOptions struct {
	accept, dial   endpoint.Options
	target         endpoint.TLSOptions
	listen         []string
	keepExtensions bool
	trace          tracing.Options
	descriptors    backend.Descriptors
	admin          adminOptions
	output         outputOptions
}

func (o *tapOptions) parse(in *invocation) (err error) {
	if o.dial.URL, err = in.url(); err != nil {
		return err
	}
	if o.dial.URL == "" {
		return &usage.Error{Err: errNoTapURL, Advice: "give the URL of the side that accepts WebSockets, such as wss://worker.example/v1/ws/sync"}
	}
	if !in.given["listen"] {
		o.listen = nil // WSTUN_LISTEN is meant for dial
	}
	if len(o.listen) == 0 {
		if err := in.given.Reject("--listen", "yamux-role"); err != nil {
			return err
		}
	} else if err := in.given.Reject("a tap without --listen", "keep-extensions"); err != nil {
		return err
	}
	o.trace.Trace = true
	o.admin.given = in.given
	if err := o.admin.check(); err != nil {
		return err
	}
	for _, e := range []*endpoint.Options{&o.accept, &o.dial} {
		e.Secrets = in.secrets
		e.Window = "auto"
	}
	// Flags for one side aren't those of the other.
	o.accept.Given, o.dial.Given = maps.Clone(in.given), maps.Clone(in.given)
	for _, name := range []string{"header", "proxy", "connect-timeout"} {
		delete(o.accept.Given, name)
	}
	for _, name := range []string{"accept", "path", "origin", "max-sessions", "allow-unauthenticated"} {
		delete(o.dial.Given, name)
	}
	o.accept.DefaultAccept = endpoint.DefaultAccept
	if !o.hasCredentials() {
		o.accept.AllowUnauthenticated = true // the other side checks those that pass through
	}
	o.dial.TokenFile, o.dial.TokenHeader = o.accept.TokenFile, o.accept.TokenHeader
	return nil
}

// hasCredentials reports whether the tap may add credentials of its own to handshakes:
// then anyone who reaches it could use them.
func (o *tapOptions) hasCredentials() bool {
	u, err := url.Parse(o.dial.URL)
	return o.target.Cert != "" || len(o.dial.Header) > 0 || err == nil && u.User != nil
}

func (p *program) tap(ctx context.Context, o *tapOptions) error {
	out, err := p.newOutput("tap", &o.output)
	if err != nil {
		return err
	}
	if o.trace.Record == "-" {
		out.stdout = nil // for the recording
	}
	accept, err := endpoint.New(&o.accept, wsmux.Client)
	if err != nil {
		return err
	}
	dial, err := endpoint.NewDialing(&o.dial)
	if err != nil {
		return err
	}
	if err := dial.SetTLS("--target-", &o.target); err != nil {
		return err
	}
	local, err := o.descriptors.Load() //nolint:contextcheck // compiling files isn't interrupted
	if err != nil {
		return err
	}
	defer out.ready.remove() //nolint:errcheck // the process ends anyway
	role, err := o.accept.Role(wsmux.Client)
	if err != nil {
		return err
	}
	t := &tapping{p: p, o: o, accept: accept, dial: dial, role: role, out: out, servers: out.newSessions()}
	to := p.traceOutput(p.stdout, out.json)
	if o.trace.Record == "-" {
		to = p.traceOutput(p.stderr, out.json || out.logsJSON)
		to.Stdout = fileOf(p.stdout)
	}
	to.Token, to.Learned, to.Summary, to.Logger = o.accept.TokenHeader, &tracing.Learned{}, true, out.logger
	to.Catalog = reflection.NewCatalog(reflection.FromSet(local), to.Learned)
	if len(o.listen) > 0 {
		to.Catalog = reflection.NewCatalog(reflection.FromSet(local), &sessionFinder{t.servers}, to.Learned)
	}
	t.catalog, t.learned = to.Catalog, to.Learned
	if t.traced, err = o.trace.Start(ctx, to); err != nil {
		return err
	}
	defer t.traced.Close() //nolint:contextcheck // ctx has ended then
	catchBrokenPipes()
	limitMemory()
	go trimMemory(ctx)
	ctx, stop := accept.WatchHangups(ctx)
	defer stop()
	return t.run(ctx)
}

// tapping is one run of wstun tap.
type tapping struct {
	p            *program
	o            *tapOptions
	accept, dial *endpoint.Endpoint
	role         wsmux.Role // of the side that dials
	out          *output
	traced       *tracing.Tracing
	servers      *tunnel.Sessions // with --listen: the sessions with the gRPC server
	catalog      *reflection.Catalog
	learned      *tracing.Learned
}

func (t *tapping) run(ctx context.Context) error {
	if t.dial.TLS.Insecure() {
		t.out.logger.Warn("the target's certificate is not verified")
	}
	local, err := listenAll(ctx, t.o.listen, t.out.logger)
	if err != nil {
		return err
	}
	l, url, err := t.accept.Listen(ctx, t.out.logger)
	if err == nil {
		err = t.out.ready.prepare()
	}
	if err != nil {
		closeAll(local)
		return err
	}
	options := t.accept.AcceptOptions(t.out.logger)
	dialOptions := func() *tunnel.DialOptions { return t.dial.DialOptions(t.out.logger) }
	var shutdown func(context.Context)
	if len(local) == 0 {
		tapped := &tap.Tap{
			URL: t.dial.URL, Options: dialOptions, KeepExtensions: t.o.keepExtensions, Tracer: t.traced.Tracer(), Logger: t.out.logger,
			Up:   func(s *tap.Session) { t.out.sessionUp(monitor.FromTap(s)) },
			Down: t.sessionDown,
		}
		options.KeepHead, options.Upgrade, shutdown = true, tapped.Upgrade, tapped.Shutdown
	} else {
		bridge := &tap.Bridge{URL: t.dial.URL, Options: dialOptions, Role: t.role, Servers: t.servers, Tracer: t.traced.Tracer(), Logger: t.out.logger}
		options.Upgrade, shutdown = bridge.Upgrade, t.bridged(bridge, local) //nolint:contextcheck // a local connection outlives ctx: shutdown drains it
	}
	m := t.out.monitor
	m.Accepting, m.Calls, m.Ended, m.Lost = true, t.traced.Tracer().Calls, t.traced.Tracer().Ended(), t.traced.Lost
	m.OwnExpires = func() time.Time { return t.accept.TLS.Expires(t.out.logger) }
	pg, err := t.p.startPage(&t.o.admin, t.out, t.o.trace.Redact, t.o.accept.TokenHeader, t.traced, &inspect.Options{Catalog: t.catalog, Learned: t.learned})
	if err != nil {
		closeAll(append(local, l))
		return err
	}
	defer pg.close()
	answers, err := t.p.startAdmin(ctx, &t.o.admin, &admin.Admin{Attach: t.traced.Attach, Page: pg.web()}, t.out)
	if err != nil {
		closeAll(append(local, l))
		return err
	}
	defer answers.close(ctx)
	acceptor := tunnel.NewAcceptor(&tunnel.Sessions{}, options)
	stop := context.AfterFunc(ctx, func() { _ = acceptor.Shutdown(context.WithoutCancel(ctx)) })
	defer stop()
	for _, l := range local {
		t.out.listening("address", endpoint.Addr(l))
	}
	t.out.listening("url", url)
	answers.report(t.out)
	t.out.setReady(endpoint.Redact(t.dial.URL), url)
	t.out.systemdReady()
	m.SetBound()
	err = acceptor.Serve(l)
	// The sessions have a moment to end by themselves.
	const drainTimeout = time.Second
	draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	shutdown(draining)
	return err
}

// sessionDown reports the end of a session.
func (t *tapping) sessionDown(s *tap.Session, reason string) {
	d := down{id: s.ID, remote: s.Remote, reason: reason, lasted: time.Since(s.Since), code: s.CloseCode()}
	switch d.code {
	case 0:
		d.cause = monitor.Network
	case websocket.CloseNormalClosure, websocket.CloseGoingAway:
		d.cause = monitor.Closed
	default:
		d.cause = monitor.CloseCode
	}
	t.out.sessionDown(&d)
}

// bridged lets local gRPC clients into the sessions of bridge, and returns a function that
// shuts both down.
func (t *tapping) bridged(bridge *tap.Bridge, local []net.Listener) func(context.Context) {
	t.out.logger.Info("with --listen, sessions aren't byte-exact below HTTP/2: each side has a WebSocket and a yamux session of its own")
	t.servers.Subscribe(tunnel.Subscriber{Up: func(*tunnel.Session) { t.traced.Forget() }})
	forwarder := &forward.Forwarder{Sessions: t.servers, Secrets: t.o.dial.Secrets, Trace: t.traced.Tracer(), Logger: t.out.logger}
	var serving sync.WaitGroup
	for _, l := range local {
		serving.Go(func() {
			if err := forwarder.Serve(l); err != nil {
				t.out.fail(err)
			}
		})
	}
	return func(ctx context.Context) {
		_ = forwarder.Shutdown(ctx)
		_ = t.servers.Shutdown(ctx)
		serving.Wait()
		bridge.Wait()
	}
}

var errNoTapURL = errors.New("no URL")
