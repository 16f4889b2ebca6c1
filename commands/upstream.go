package commands

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/wstun/wstun/commands/stub"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/outbound"
	"github.com/wstun/wstun/tunnel/proxy"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// upstreamTLSHint is for an upstream that speaks TLS or doesn't, contrary to
// --upstream-tls.
const upstreamTLSHint = "see --upstream-tls"

// upstreamFlags say what wstun serve serves, other than the demo Hub.
func upstreamFlags() []cli.Flag {
	return []cli.Flag{
		stringsFlag("upstream", "serve the gRPC server at `ADDR`: host:port, :port (loopback) or unix:PATH; repeatable, calls are routed by service"),
		boolFlag("upstream-tls", "speak TLS to the upstreams"),
		pathFlag("upstream-cacert", "trust the authority in `PATH` for the upstreams' certificates"),
		pathFlag("upstream-cert", "client certificate `PATH` for the upstreams"),
		pathFlag("upstream-key", "private key `PATH` of --upstream-cert"),
		stringFlag("upstream-servername", "expect the upstreams' certificates to be for `NAME`", ""),
		boolFlag("upstream-insecure", "don't verify the upstreams' certificates"),
		stringFlag("upstream-authority", "call the upstreams with the authority `NAME` instead of the caller's", ""),
		boolFlag("raw", "pipe bytes to the one upstream untouched: it sees the peer's own HTTP/2"),
		pathFlag("stub", "answer calls from the YAML `FILE`, with the descriptors of --proto or --protoset"),
		stringsFlag("proto", "take descriptors from the source `FILE`, for what the upstreams' reflection lacks; repeatable"),
		stringsFlag("import-path", "look for what --proto and its imports name in `DIR`; repeatable (default: the current folder)"),
		stringsFlag("protoset", "take descriptors from the compiled `FILE`, for what the upstreams' reflection lacks; repeatable"),
		boolFlag("no-reflection", "in front of upstreams, serve no reflection, not even theirs"),
		stringsFlag("reflect-header", "send the metadata `'name: value'` when asking upstreams for reflection; repeatable"),
	}
}

// newBackend makes the backend that the upstream flags ask for.
func (p *program) newBackend(c *cli.Context, out *output) (backend, error) {
	addrs, stubFile := c.StringSlice("upstream"), c.Path("stub")
	switch {
	case stubFile != "" && len(addrs) > 0:
		return nil, usagef("both --stub and --upstream: calls are either answered here or there")
	case stubFile != "":
		return newStubBackend(c, stubFile)
	case len(addrs) == 0:
		return newDemoBackend(), rejectFlags(c, "--upstream", "upstream-tls", "upstream-cacert", "upstream-cert", "upstream-key",
			"upstream-servername", "upstream-insecure", "upstream-authority", "raw", "proto", "import-path", "protoset", "reflect-header", "no-reflection")
	}
	config, err := upstreamTLS(c, out.logger)
	if err != nil {
		return nil, err
	}
	if c.Bool("raw") {
		if len(addrs) > 1 {
			return nil, usagef("--raw takes one --upstream: there is no routing of what isn't looked at")
		}
		return newRaw(c, out, addrs[0], config)
	}
	return newProxyBackend(c, out, addrs, config)
}

// upstreamTLS is the configuration for upstreams with TLS; nil without.
func upstreamTLS(c *cli.Context, logger *slog.Logger) (*tls.Config, error) {
	files, err := newTLSFiles("--upstream-", c.Path("upstream-cert"), c.Path("upstream-key"), c.Path("upstream-cacert"))
	if err != nil {
		return nil, err
	}
	files.serverName, files.insecure = c.String("upstream-servername"), c.Bool("upstream-insecure")
	if !c.Bool("upstream-tls") {
		if files.certificate != nil || files.authorities != nil || files.serverName != "" || files.insecure {
			return nil, usagef("--upstream-… flags for TLS without --upstream-tls")
		}
		return nil, nil //nolint:nilnil // no TLS, no error
	}
	if files.insecure {
		logger.Warn("the upstreams' certificates are not verified")
	}
	return files.client(logger), nil
}

// parseUpstream is outbound.ParseAddr for the address of a server.
func parseUpstream(text string) (outbound.Addr, error) {
	addr, err := outbound.ParseAddr(text)
	if err == nil && addr.Network == "tcp" && strings.HasSuffix(addr.Address, ":0") {
		err = fmt.Errorf("%q: no server has port 0", text)
	}
	if err != nil {
		return outbound.Addr{}, usagef("--upstream %w", err)
	}
	return addr, nil
}

func newRaw(c *cli.Context, out *output, text string, config *tls.Config) (backend, error) {
	if err := rejectFlags(c, "upstreams without --raw", "upstream-authority", "proto", "import-path", "protoset", "reflect-header", "no-reflection"); err != nil {
		return nil, err
	}
	addr, err := parseUpstream(text)
	if err != nil {
		return nil, err
	}
	dial := new(net.Dialer).DialContext
	if config != nil {
		config = config.Clone()
		config.NextProtos = []string{"h2"}
		dial = (&tls.Dialer{Config: config}).DialContext
	}
	return newRawBackend(out, func(ctx context.Context) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, describeTimeout)
		defer cancel()
		conn, err := dial(ctx, addr.Network, addr.Address)
		if netdiag.NotTLS(err) {
			return nil, fmt.Errorf("upstream %s: it doesn't speak TLS (%s)", text, upstreamTLSHint)
		}
		if err != nil {
			return nil, fmt.Errorf("upstream %s: %w", text, netdiag.Cause(err))
		}
		return conn, nil
	}), nil
}

// newStubBackend answers calls from a file.
func newStubBackend(c *cli.Context, path string) (backend, error) {
	if err := rejectFlags(c, "--upstream", "upstream-tls", "upstream-cacert", "upstream-cert", "upstream-key",
		"upstream-servername", "upstream-insecure", "upstream-authority", "raw", "reflect-header"); err != nil {
		return nil, err
	}
	set, err := loadDescriptors(c)
	if err != nil {
		return nil, err
	}
	if set == nil {
		return nil, &usageError{err: errors.New("--stub needs the descriptors of its methods"), hint: "name the source with --proto, or a compiled set with --protoset"}
	}
	s, err := stub.Load(path, set.Files())
	if _, unread := errors.AsType[*fs.PathError](err); unread {
		return nil, usagef("--stub: %w", err)
	}
	if err != nil {
		return nil, &usageError{err: err, hint: "fix the file of --stub"}
	}
	merged := reflection.NewMerged(1, nil)
	merged.Set(0, set)
	return newGRPCBackend(append(wsmux.ServerOptions(), s.ServerOption()), func(g *grpc.Server, h *health.Server) {
		for _, service := range s.Services() {
			h.SetServingStatus(service, grpc_health_v1.HealthCheckResponse_SERVING)
		}
		if !c.Bool("no-reflection") {
			merged.Register(g)
		}
	}, s.Close), nil
}

// loadDescriptors loads the descriptors of --proto or --protoset; nil without them.
func loadDescriptors(c *cli.Context) (*reflection.Set, error) {
	protos, protosets := c.StringSlice("proto"), c.StringSlice("protoset")
	switch {
	case len(protos) > 0 && len(protosets) > 0:
		return nil, usagef("both --proto and --protoset: one of them says it all")
	case len(protos) > 0:
		set, err := reflection.LoadProtos(protos, c.StringSlice("import-path"))
		if me, ok := errors.AsType[*reflection.MissingError](err); ok {
			hint := "name the folder that " + me.Name + " is below with --import-path"
			return nil, &usageError{err: fmt.Errorf("--proto: %w", err), hint: hint}
		}
		if err != nil {
			return nil, usagef("--proto: %w", err)
		}
		return set, nil
	case len(protosets) > 0:
		set, err := reflection.LoadProtosets(protosets)
		if err != nil {
			return nil, usagef("--protoset: %w", err)
		}
		return set, nil
	case len(c.StringSlice("import-path")) > 0:
		return nil, usagef("--import-path without --proto")
	}
	return nil, nil //nolint:nilnil // nothing named, no error
}

func newProxyBackend(c *cli.Context, out *output, addrs []string, config *tls.Config) (backend, error) {
	local, err := loadDescriptors(c)
	if err != nil {
		return nil, err
	}
	header, err := grpcMetadata(c, "reflect-header")
	if err != nil {
		return nil, err
	}
	us := &upstreams{
		out: out, local: local, header: header,
		merged:   reflection.NewMerged(len(addrs), out.logger),
		failures: make([]string, len(addrs)),
		told:     make([]told, len(addrs)),
		states:   make([]servingStatus, len(addrs)),
	}
	us.merged.Fill(local)
	for _, text := range addrs {
		addr, err := parseUpstream(text)
		if err != nil {
			return nil, err
		}
		u, err := proxy.NewUpstream(addr.String(), &proxy.UpstreamOptions{
			TLS: config, TLSHint: upstreamTLSHint, Authority: c.String("upstream-authority"), Logger: out.logger,
		})
		if err != nil {
			return nil, usagef("--upstream %s: %w", text, err)
		}
		us.all = append(us.all, u)
	}
	us.proxy = proxy.New(us.all)
	following, stop := context.WithCancel(c.Context)
	var wg sync.WaitGroup
	b := newGRPCBackend(append(wsmux.ServerOptions(), us.proxy.ServerOptions()...), func(g *grpc.Server, h *health.Server) {
		us.grpc, us.health = g, h
		grpc_health_v1.RegisterHealthServer(g, &upstreamHealth{h, us})
		if c.Bool("no-reflection") {
			reflection.Refuse(g) // or the calls would go on to the upstreams
		} else {
			us.merged.Register(g)
		}
	}, stop)
	for i := range us.all {
		wg.Go(func() { us.follow(following, i) })
	}
	return &proxyBackend{b, us, &wg}, nil
}

// proxyBackend closes the upstreams when the calls to them have ended.
type proxyBackend struct {
	*grpcBackend
	upstreams *upstreams
	following *sync.WaitGroup
}

func (b *proxyBackend) shutdown(ctx context.Context, sessions *tunnel.Sessions) error {
	err := b.grpcBackend.shutdown(ctx, sessions)
	b.following.Wait()
	for _, u := range b.upstreams.all {
		_ = u.Close()
	}
	return err
}
