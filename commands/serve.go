package commands

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/wsmux"
)

func (p *program) serveCommand() *cli.Command {
	return &cli.Command{
		Name:      "serve",
		Usage:     "be the gRPC server end of a session",
		ArgsUsage: "[URL]",
		UsageText: "wstun serve [flags] [URL]",
		Description: "Serves the gRPC servers at each --upstream ADDR, answers from a --stub FILE, or without\n" +
			"either the demo Hub; beside them reflection, health and channelz. Accepts WebSockets at\n" +
			defaultAccept + ", or at --accept ADDR, or dials the URL and stays connected.",
		Flags:  slices.Concat(upstreamFlags(), sessionFlags(), outputFlags()),
		Action: p.serve,
	}
}

func (p *program) serve(c *cli.Context) error {
	args, err := p.arguments(c, 1)
	if err != nil {
		return err
	}
	e, err := newEndpoint(c, wsmux.Server, first(args), endpoint{accept: defaultAccept})
	if err != nil {
		return err
	}
	out, err := p.newOutput(c)
	if err != nil {
		return err
	}
	defer out.ready.remove() //nolint:errcheck // the process ends anyway
	srv, err := p.newBackend(c, out)
	if err != nil {
		return err
	}
	ctx, stop := e.watchHangups(c.Context)
	defer stop()
	l, url, err := e.listen(ctx, out)
	if err != nil {
		return err
	}
	if err := out.ready.clear(); err != nil {
		return err
	}
	catchBrokenPipes()
	var once sync.Once
	sessions := newSessions(out)
	sessions.Subscribe(tunnel.Subscriber{Up: func(s *tunnel.Session) {
		srv.serveStreams(s)
		if l == nil {
			once.Do(func() { out.setReady(redact(e.url)) })
		}
	}})
	if l != nil {
		out.listening("url", url)
		out.setReady(url)
	}
	err = e.run(ctx, l, sessions, out)
	e.drain(ctx, out, func(ctx context.Context) error { return srv.shutdown(ctx, sessions) })
	return err
}

// drain runs shutdown after the end of ctx. shutdown cuts the calls that take
// longer than the drain timeout, which is logged and no error.
func (e *endpoint) drain(ctx context.Context, out *output, shutdown func(context.Context) error) {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), e.drainTimeout, errDrainTimeout)
	defer cancel()
	out.logger.Info("draining", slog.Duration("timeout", e.drainTimeout))
	if err := out.ready.remove(); err != nil {
		out.logger.Warn("drain", slog.Any("err", err))
	}
	if err := shutdown(ctx); err != nil {
		out.logger.Warn("drain", slog.Any("err", err))
	}
}

var errDrainTimeout = errors.New("--drain-timeout is over")

// first returns the first of args, or the empty string.
func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}
