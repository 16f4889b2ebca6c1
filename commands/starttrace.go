package commands

import (
	"context"
	"io"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/commands/tracing"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel"
)

// startTrace starts the trace of a command that runs until stopped, which may be without
// outputs until somebody attaches one.
func (p *program) startTrace(ctx context.Context, o *tracing.Options, out *output, tokenHeader string, sources ...reflection.Finder) (*tracing.Tracing, error) {
	to := p.traceOutput(p.stderr, out.json || out.logsJSON)
	to.Token, to.Catalog, to.Summary, to.Logger = tokenHeader, reflection.NewCatalog(sources...), true, out.logger
	to.Attachable = true
	return o.Start(ctx, to)
}

// traceOutput returns stdout or stderr as the destination of a trace.
func (p *program) traceOutput(w io.Writer, json bool) *tracing.Output {
	out := &tracing.Output{Writer: unmasked(w), JSON: json, Colors: p.colors(w), Secrets: &p.secrets, Version: version()}
	if isTerminal(w) {
		screen := &console{out: fileOf(w)}
		out.Width = func() int {
			width, _ := screen.size()
			return width
		}
	}
	return out
}

// sessionFinder asks the server at the other end of the newest session.
type sessionFinder struct{ sessions *tunnel.Sessions }

// ask calls f with the server. If no session is up, it returns an error.
func (s *sessionFinder) ask(ctx context.Context, f func(*reflection.Server) error) error {
	session, err := s.sessions.Wait(ctx)
	if err != nil {
		return err
	}
	cc, err := dialUntraced(session)
	if err != nil {
		return err
	}
	defer cc.Close()
	return f(reflection.FromServer(cc, nil))
}

// Files implements reflection.Finder.
func (s *sessionFinder) Files(ctx context.Context) (set *reflection.Set, err error) {
	err = s.ask(ctx, func(server *reflection.Server) error {
		set, err = server.Files(ctx)
		return err
	})
	return set, err
}

// Services implements reflection.Finder.
func (s *sessionFinder) Services(ctx context.Context) (services []string, err error) {
	err = s.ask(ctx, func(server *reflection.Server) error {
		services, err = server.Services(ctx)
		return err
	})
	return services, err
}

// Find implements reflection.Finder.
func (s *sessionFinder) Find(ctx context.Context, symbol protoreflect.FullName) (set *reflection.Set, err error) {
	err = s.ask(ctx, func(server *reflection.Server) error {
		set, err = server.Find(ctx, symbol)
		return err
	})
	return set, err
}
