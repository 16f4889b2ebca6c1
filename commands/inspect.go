package commands

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"sync/atomic"

	"github.com/cli/browser"
	"github.com/urfave/cli/v2"
	"google.golang.org/grpc"

	"github.com/wstun/wstun/commands/admin"
	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/inspect"
	"github.com/wstun/wstun/commands/monitor"
	"github.com/wstun/wstun/commands/target"
	"github.com/wstun/wstun/commands/tracing"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/commands/web"
	"github.com/wstun/wstun/tunnel"
)

func (p *program) inspectCommand() *cli.Command {
	o := &inspectOptions{}
	p.targets["inspect"] = &o.target
	return &cli.Command{
		Name:      "inspect",
		Usage:     "open a page that shows sessions and calls, and makes calls",
		ArgsUsage: "[FILE | TARGET]",
		UsageText: "wstun inspect [flags] [FILE | TARGET | --attach PID]",
		Description: "Serves a page on loopback until stopped, and prints its URL: of the calls in FILE, a recording;\n" +
			"of a running wstun serve, dial or tap with --attach; or for calls to TARGET, from a form for\n" +
			"each of its methods. Without --admin-messages of the running process, the page has the calls\n" +
			"that begin from now on.\n\n" + targetDescription,
		Flags: slices.Concat([]cli.Flag{
			usage.Bool(&o.open, "open", "open the page in a browser"),
			&cli.StringFlag{Name: "page", Usage: "serve the page at `ADDR`", Value: "127.0.0.1:0", Destination: &o.addr},
			o.page.memoryFlag(),
			usage.Duration(&o.target.Wait, "wait", "let a call fail after `DURATION` while no session is up", tunnel.DefaultWait),
			usage.Strings(&o.redact, "redact", "hide the values of message fields and metadata named `GLOB`; repeatable"),
		}, o.attach.flags(), o.target.Endpoint.RetryFlags(), o.target.Flags(), o.log.flags("warn")),
		Action: action(p, o, p.inspect),
	}
}

// inspectOptions are the values of the command line of wstun inspect.
type inspectOptions struct {
	file   string // empty: none
	open   bool
	addr   string // of the page
	page   pageOptions
	redact []string
	attach attachOptions
	target target.Options
	log    logOptions
}

func (o *inspectOptions) parse(in *invocation) error {
	o.attach.secrets, o.target.Calls, o.target.Reconnect = in.secrets, true, true
	if len(in.args) == 1 && !target.IsTarget(in.args[0]) && !o.target.Unix {
		o.file, in.args = in.args[0], nil
	}
	if _, err := in.targetArguments(&o.target, 0); err != nil {
		return err
	}
	if !in.given["accept"] && (o.file != "" || o.attach.attach != "") {
		o.target.Endpoint.Accept = "" // WSTUN_ACCEPT
	}
	isTarget, given := o.target.Addr != "" || o.target.Endpoint.Accept != "", 0
	for _, is := range []bool{o.file != "", isTarget, o.attach.attach != ""} {
		if is {
			given++
		}
	}
	switch {
	case given == 0:
		return &usage.Error{Err: errors.New("nothing to show"), Advice: "give a recording, a TARGET, or --attach with the process ID of a running wstun: see wstun status"}
	case given > 1:
		return usage.Errorf("want one of FILE, TARGET and --attach")
	case o.attach.attach == "":
		if err := in.given.Reject("--attach", "admin-token-file"); err != nil {
			return err
		}
	}
	return o.page.checkMemory()
}

func (p *program) inspect(ctx context.Context, o *inspectOptions) error {
	logger, err := p.newLogger(&o.log)
	if err != nil {
		return err
	}
	opts := &inspect.Options{Version: version(), Role: "inspect", Secrets: &p.secrets, Redact: o.redact}
	opts.Store.Memory = o.page.memory
	o.page.limitGarbage()
	switch {
	case o.file != "":
		return p.inspectFile(ctx, o, opts, logger)
	case o.attach.attach != "":
		return p.inspectRunning(ctx, o, opts, logger)
	}
	return p.inspectTarget(ctx, o, opts, logger)
}

// inspectFile shows a recording.
func (p *program) inspectFile(ctx context.Context, o *inspectOptions, opts *inspect.Options, logger *slog.Logger) error {
	file, err := os.Open(o.file)
	if err != nil {
		return usage.Errorf("%s: %w", o.file, pathCause(err))
	}
	defer file.Close()
	opts.File, opts.Addresses = true, func() []string { return []string{o.file} }
	h := inspect.New(opts)
	defer h.Close()
	if err := h.Load(file); err != nil {
		return fmt.Errorf("%s: %w", o.file, err)
	}
	if u := h.Store().Usage(); u.Dropped.Calls > 0 || u.Dropped.Messages > 0 {
		logger.Warn("not all of the recording is shown: give more with --admin-memory",
			slog.Uint64("calls", u.Dropped.Calls), slog.Uint64("messages", u.Dropped.Messages))
	}
	return p.servePage(ctx, o, h, logger)
}

// inspectTarget makes calls to a TARGET.
func (p *program) inspectTarget(ctx context.Context, o *inspectOptions, opts *inspect.Options, logger *slog.Logger) error {
	life, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	o.target.Fail = fail
	_, t, err := p.openTarget(life, &o.target, &o.log)
	if err != nil {
		return err
	}
	defer t.Close()
	opts.Catalog, opts.Target = t.Catalog, o.target.Addr
	opts.Addresses = func() []string { return []string{p.secrets.Mask(cmp.Or(o.target.Addr, o.target.Endpoint.Accept))} }
	opts.Conn = func(uint64) (grpc.ClientConnInterface, error) { return t.Conn, nil }
	h := inspect.New(opts)
	defer h.Close()
	t.OnReconnect(func() {
		t.Catalog.Refresh()
		h.Forget()
	})
	err = p.servePage(life, o, h, logger)
	if life.Err() != nil && ctx.Err() == nil {
		return context.Cause(life)
	}
	return err
}

// inspectRunning shows the calls of a running process: on its own page, or, if that keeps no
// calls, on one here with those that begin from now on.
func (p *program) inspectRunning(ctx context.Context, o *inspectOptions, opts *inspect.Options, logger *slog.Logger) error {
	clients, err := o.attach.clients(ctx, p)
	if err != nil {
		return err
	}
	client := clients[0]
	hasPage, err := client.HasPage(ctx)
	if err != nil {
		return err
	}
	if hasPage {
		return p.servePage(ctx, o, pageOf(client, logger), logger)
	}
	status, err := client.Status(ctx)
	if err != nil {
		return err
	}
	events, open, err := client.Events(ctx, tracing.AttachOptions{Messages: true, Redact: o.redact})
	if err != nil {
		return err
	}
	defer events.Close()
	if open > 0 {
		logger.Warn("calls that are open already are not shown: --admin-messages of the process would keep them", slog.Int("calls", open))
	}
	opts.Role, opts.Version = status.Command, status.Version
	opts.Addresses = func() []string { return status.Addresses }
	polled := &polledSessions{client: client, ctx: ctx}
	sampler := inspect.NewSampler(polled.sessions)
	defer sampler.Close()
	opts.Sessions = sampler.Sessions
	h := inspect.New(opts)
	defer h.Close()
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		err := h.Load(events)
		if h.End(); ctx.Err() == nil {
			logger.Warn("the process has ended", slog.String("process", client.Name()), slog.Any("err", err))
		}
	}()
	err = p.servePage(ctx, o, h, logger)
	_ = events.Close()
	<-loaded
	return err
}

// polledSessions asks a process for its sessions.
type polledSessions struct {
	client *admin.Client
	ctx    context.Context //nolint:containedctx // of the command
	last   atomic.Pointer[[]monitor.Session]
}

// sessions returns the sessions, or the last ones if the process doesn't answer.
func (s *polledSessions) sessions() []monitor.Session {
	st, err := s.client.Status(s.ctx)
	if err == nil {
		list := append(st.Sessions, st.Ended...)
		s.last.Store(&list)
		return list
	}
	if last := s.last.Load(); last != nil {
		return *last
	}
	return nil
}

// pageOf passes requests on to the page of a process.
func pageOf(client *admin.Client, logger *slog.Logger) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { client.Address(r.Out) },
		Transport:     client.Transport(),
		FlushInterval: -1, // at once
		ErrorLog:      slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			logger.Debug("no answer", slog.String("process", client.Name()), slog.Any("err", err))
			http.Error(w, "wstun: "+client.Name()+" doesn't answer. If its process has ended, run wstun inspect --attach with the new one's ID", http.StatusBadGateway)
		},
	}
}

// servePage serves a page on loopback until ctx ends, and prints its URL.
func (p *program) servePage(ctx context.Context, o *inspectOptions, handler http.Handler, logger *slog.Logger) error {
	p.pipes = false
	l, err := endpoint.Listen(ctx, "--page", o.addr)
	if err != nil {
		return err
	}
	if l.Addr().Network() == "unix" || !endpoint.IsLoopback(l) {
		_ = l.Close()
		return &usage.Error{Err: fmt.Errorf("--page %s: want a loopback address", o.addr), Advice: "from another machine, reach it through ssh -L"}
	}
	token := rand.Text()
	guard := &web.Guard{Loopback: true, Token: func() string { return token }, OpenPaths: inspect.Paths()}
	servers := &adminServers{}
	servers.serve(ctx, l, guard.Handler(handler), logger)
	defer servers.close(ctx)
	address := (&url.URL{Scheme: "http", Host: endpoint.Addr(l), Path: "/", Fragment: "token=" + token}).String()
	fmt.Fprintln(p.stdout, address)
	if o.open {
		browser.Stdout, browser.Stderr = p.stderr, p.stderr
		if err := browser.OpenURL(address); err != nil {
			logger.Warn("no browser: open the URL yourself", slog.Any("err", err))
		}
	}
	<-ctx.Done()
	return nil
}
