package commands

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/admin"
	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/inspect"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/commands/web"
	"github.com/wstun/wstun/tunnel/outbound"
)

// adminOptions are the values of the flags of commands that answer questions while they run.
type adminOptions struct {
	control              string // none, an ADDR, or empty: a socket in the user's folder
	addr                 string
	hosts                []string
	tokenFile            string
	tls                  endpoint.TLSOptions
	allowUnauthenticated bool
	page                 pageOptions
	given                usage.Given
}

// flags returns the flags of a command that carries calls.
func (o *adminOptions) flags() []cli.Flag { return append(o.serverFlags(), o.page.flags()...) }

func (o *adminOptions) serverFlags() []cli.Flag {
	return []cli.Flag{
		// Two processes would share a port: so there is no variable.
		&cli.StringFlag{Name: "admin", Usage: "answer at `ADDR` by HTTP: /healthz, /readyz, /metrics and /api/v1/", Destination: &o.addr},
		usage.Path(&o.tokenFile, "admin-token-file", "demand the token in `PATH` of --admin's clients (default: a new one, which is printed)"),
		usage.Strings(&o.hosts, "admin-host", "allow the Host `NAME` besides localhost and loopback addresses in requests to --admin; repeatable"),
		usage.Path(&o.tls.Cert, "admin-cert", "certificate `PATH` of --admin, for https"),
		usage.Path(&o.tls.Key, "admin-key", "private key `PATH` of --admin-cert"),
		usage.Path(&o.tls.CACert, "admin-cacert", "demand client certificates of the authority in `PATH` of --admin's clients"),
		usage.Bool(&o.allowUnauthenticated, "admin-allow-unauthenticated", "let --admin's clients in without a token, and without pprof"),
		usage.String(&o.control, "control", "answer wstun status at unix:`PATH`, or none (default: a socket that it finds)", ""),
	}
}

func (o *adminOptions) check() error {
	if o.control != "" && o.control != "none" && !strings.HasPrefix(o.control, "unix:") {
		return &usage.Error{Err: fmt.Errorf("--control %s: want unix:PATH or none", o.control), Advice: "for an address of TCP, use --admin"}
	}
	if err := errors.Join(checkPrivate("--control", o.control), checkPrivate("--admin", o.addr)); err != nil {
		return err
	}
	if err := o.page.check(o.given); err != nil {
		return err
	}
	if o.page.messages && o.addr == "" && o.control == "none" {
		return usage.Errorf("--admin-messages with --control none and without --admin: nobody could see the page")
	}
	if o.addr == "" {
		return o.given.Reject("--admin", "admin-token-file", "admin-host", "admin-cert", "admin-key", "admin-cacert", "admin-allow-unauthenticated")
	}
	if o.tokenFile != "" && o.allowUnauthenticated {
		return usage.Errorf("both --admin-token-file and --admin-allow-unauthenticated")
	}
	return nil
}

// adminServers answer questions about a running command.
type adminServers struct {
	url, token string // of --admin; the token is empty unless it is new
	servers    []*http.Server
	serving    sync.WaitGroup
}

// startAdmin starts to answer questions with a, at the addresses that o has.
func (p *program) startAdmin(ctx context.Context, o *adminOptions, a *admin.Admin, out *output) (*adminServers, error) {
	a.Monitor, a.Secrets = out.monitor, &p.secrets
	s := &adminServers{}
	l, err := o.listenControl(ctx, out.logger)
	if err != nil {
		return nil, err
	}
	if l != nil {
		s.serve(ctx, l, (&web.Guard{AnyHost: true}).Handler(a.Handler(true)), out.logger)
	}
	if o.addr != "" {
		if err := s.startTCP(ctx, p, o, a, out); err != nil {
			s.close(ctx)
			return nil, err
		}
	}
	return s, nil
}

// listenControl listens at the control socket; nil for none. Without --control, it isn't an
// error that there can be none, as with a read-only file system.
func (o *adminOptions) listenControl(ctx context.Context, logger *slog.Logger) (net.Listener, error) {
	switch o.control {
	case "none":
		return nil, nil //nolint:nilnil // no listener, no error
	case "":
		l, err := admin.Listen(ctx)
		if err != nil {
			attrs := []any{slog.Any("err", err)}
			if h := hint(err, o.given); h != "" {
				attrs = append(attrs, slog.String("hint", h))
			}
			logger.Info("no control socket: wstun status won't find this process", attrs...)
		}
		return l, nil
	}
	return endpoint.Listen(ctx, "--control", o.control)
}

// checkPrivate refuses a socket in the abstract namespace, because all users can connect to it.
func checkPrivate(flag, addr string) error {
	if a, err := outbound.ParseAddr(addr); err == nil && a.Abstract() {
		return usage.Errorf("%s %s: every user can connect to an abstract socket: want unix:PATH", flag, addr)
	}
	return nil
}

// startTCP listens at --admin, which may be a unix socket as well.
func (s *adminServers) startTCP(ctx context.Context, p *program, o *adminOptions, a *admin.Admin, out *output) error {
	secure, err := endpoint.NewTLS("--admin-", &o.tls)
	if err != nil {
		return err
	}
	if o.tls.CACert != "" && o.tls.Cert == "" {
		return usage.Errorf("--admin-cacert demands client certificates, which needs --admin-cert and --admin-key")
	}
	l, err := endpoint.Listen(ctx, "--admin", o.addr)
	if err != nil {
		return err
	}
	guard, token, err := o.guard(p, l, secure, out.logger)
	if err != nil {
		_ = l.Close()
		return err
	}
	url := "http://" + endpoint.Addr(l)
	if config := secure.Server(out.logger); config != nil {
		l, url = tls.NewListener(l, config), "https://"+endpoint.Addr(l)
	}
	if l.Addr().Network() == "unix" {
		url = endpoint.Addr(l)
	}
	s.serve(ctx, l, guard.Handler(a.Handler(guard.Token != nil || guard.AnyHost)), out.logger)
	s.url, s.token = url, token
	return nil
}

// guard returns the guard of l, and the token if it is a new one.
func (o *adminOptions) guard(p *program, l net.Listener, secure *endpoint.TLS, logger *slog.Logger) (_ *web.Guard, token string, err error) {
	if l.Addr().Network() == "unix" {
		if err := o.given.Reject("an --admin of TCP", "admin-token-file", "admin-host", "admin-cert", "admin-key", "admin-cacert", "admin-allow-unauthenticated"); err != nil {
			return nil, "", err
		}
		return &web.Guard{AnyHost: true}, "", nil
	}
	g := &web.Guard{Hosts: o.hosts, Loopback: true, OpenPaths: slices.Concat(admin.OpenPaths, inspect.Paths())}
	loopback := endpoint.IsLoopback(l)
	if !loopback {
		g.AnyHostPaths = admin.OpenPaths
	}
	switch {
	case o.tokenFile != "":
		get, err := endpoint.TokenFile("admin-token-file", o.tokenFile, &p.secrets)
		if err != nil {
			return nil, "", err
		}
		g.Token = func() string { return get(logger) }
	case o.allowUnauthenticated, secure.DemandsClientCertificates():
	case !loopback:
		return nil, "", &usage.Error{
			Err:    fmt.Errorf("--admin %s: anyone who reaches this address could read what passes here", o.addr),
			Advice: "demand a token (--admin-token-file) or client certificates (--admin-cacert), or use --admin-allow-unauthenticated",
		}
	default:
		token = rand.Text()
		g.Token = func() string { return token }
	}
	return g, token, nil
}

func (s *adminServers) serve(ctx context.Context, l net.Listener, handler http.Handler, logger *slog.Logger) {
	server := web.NewServer(ctx, handler, logger)
	s.servers = append(s.servers, server)
	s.serving.Go(func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			logger.Warn("admin", slog.Any("err", err))
		}
	})
}

// report reports the address of --admin, if there is one. It isn't the first one that a command
// reports, because scripts read that.
func (s *adminServers) report(out *output) {
	if s.url != "" {
		out.adminAt(s.url, s.token)
	}
}

// close ends all answers. Live recordings have a second for their last events.
func (s *adminServers) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	for _, server := range s.servers {
		_ = server.Shutdown(ctx) // ends the contexts of requests
		_ = server.Close()
	}
	s.serving.Wait()
}
