package backend

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/monitor"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/escape"
	"github.com/wstun/wstun/tunnel/limit"
	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/outbound"
	"github.com/wstun/wstun/tunnel/proxy"
)

// tlsHint is for an upstream that speaks TLS or doesn't, contrary to --upstream-tls.
const tlsHint = "see --upstream-tls"

// rawDialTimeout bounds the dial to an upstream with --raw.
const rawDialTimeout = 20 * time.Second

// Options are the values of the flags.
type Options struct {
	Given         usage.Given
	Secrets       *escape.Secrets // receives the metadata; may be nil
	ExpandHeaders bool            // the value of a flag of package endpoint

	Upstreams     []string
	UseTLS        bool
	TLS           endpoint.TLSOptions
	Authority     string
	Raw           bool
	Stub          string
	NoStubDelays  bool
	Descriptors   Descriptors
	NoReflection  bool
	ReflectHeader []string
	Limits        limit.Options

	askTimeout time.Duration // of tests; 0: healthTimeout
}

// Flags returns the flags that choose a backend. Without any it is the demo Hub.
func (o *Options) Flags() []cli.Flag {
	return append([]cli.Flag{
		usage.Strings(&o.Upstreams, "upstream", "serve the gRPC server at `ADDR`; repeatable, calls are routed by service"),
		usage.Bool(&o.UseTLS, "upstream-tls", "speak TLS to the upstreams"),
		usage.Path(&o.TLS.CACert, "upstream-cacert", "trust the authority in `PATH` for the upstreams' certificates"),
		usage.Path(&o.TLS.Cert, "upstream-cert", "client certificate `PATH` for the upstreams"),
		usage.Path(&o.TLS.Key, "upstream-key", "private key `PATH` of --upstream-cert"),
		usage.String(&o.TLS.ServerName, "upstream-servername", "expect the upstreams' certificates to be for `NAME`", ""),
		usage.Bool(&o.TLS.Insecure, "upstream-insecure", "don't verify the upstreams' certificates"),
		usage.String(&o.Authority, "upstream-authority", "call the upstreams with the authority `NAME` instead of the caller's", ""),
		usage.Bool(&o.Raw, "raw", "forward bytes to the one upstream unchanged: it sees the peer's own HTTP/2"),
		usage.Path(&o.Stub, "stub", "answer calls from `FILE`: YAML, with --proto or --protoset, or a recording"),
		usage.Bool(&o.NoStubDelays, "no-stub-delays", "answer calls as in the recording of --stub, but without its delays"),
		usage.Strings(&o.Descriptors.Protos, "proto", "take descriptors that reflection lacks from the source `FILE`; repeatable"),
		usage.Strings(&o.Descriptors.ImportPaths, "import-path", "look for --proto files and their imports in `DIR`; repeatable (default: the current folder)"),
		usage.Strings(&o.Descriptors.Protosets, "protoset", "take descriptors that reflection lacks from the compiled `FILE`; repeatable"),
		usage.Bool(&o.NoReflection, "no-reflection", "in front of upstreams, serve no reflection, not even theirs"),
		usage.Strings(&o.ReflectHeader, "reflect-header", "send the metadata `'name: value'` when asking upstreams for reflection; repeatable"),
	}, o.limitFlags()...)
}

// New returns the backend that the flags choose. It uses the upstreams until ctx ends.
func New(ctx context.Context, o *Options, logger *slog.Logger) (Backend, error) {
	upstreamFlags := []string{
		"upstream-tls", "upstream-cacert", "upstream-cert", "upstream-key", "upstream-servername", "upstream-insecure",
		"upstream-authority", "raw", "reflect-header",
	}
	limits, err := o.newLimits()
	if err != nil {
		return nil, err
	}
	if o.Stub == "" {
		if err := o.Given.Reject("--stub", "no-stub-delays"); err != nil {
			return nil, err
		}
	}
	switch {
	case o.Stub != "" && len(o.Upstreams) > 0:
		return nil, usage.Errorf("both --stub and --upstream: calls are answered either here or there")
	case o.Stub != "":
		if err := o.Given.Reject("--upstream", upstreamFlags...); err != nil {
			return nil, err
		}
		return newStub(o, limits, logger) //nolint:contextcheck // compiling files isn't interrupted
	case len(o.Upstreams) == 0:
		if err := o.Given.Reject("--upstream", append(upstreamFlags, "proto", "import-path", "protoset", "no-reflection")...); err != nil {
			return nil, err
		}
		return NewDemo(limits), nil //nolint:contextcheck // as above
	}
	config, err := o.tlsConfig(logger)
	if err != nil {
		return nil, err
	}
	if !o.Raw {
		return newProxy(ctx, o, limits, logger, config)
	}
	if len(o.Upstreams) > 1 {
		return nil, usage.Errorf("--raw takes one --upstream: calls that aren't decoded can't be routed")
	}
	if err := o.Given.Reject("upstreams without --raw", "upstream-authority", "proto", "import-path", "protoset", "reflect-header", "no-reflection"); err != nil {
		return nil, err
	}
	if err := o.Given.Reject("calls that are decoded, without --raw", "max-session-memory", "max-headers", "max-session-headers"); err != nil {
		return nil, err
	}
	return newRawUpstream(o.Upstreams[0], logger, config)
}

// tlsConfig returns the configuration for upstreams with TLS; nil without.
func (o *Options) tlsConfig(logger *slog.Logger) (*tls.Config, error) {
	files, err := endpoint.NewTLS("--upstream-", &o.TLS)
	if err != nil {
		return nil, err
	}
	if !o.UseTLS {
		if flag := files.Flag(); flag != "" {
			return nil, usage.Errorf("%s without --upstream-tls", flag)
		}
		return nil, nil //nolint:nilnil // no TLS, no error
	}
	if files.Insecure() {
		logger.Warn("the upstreams' certificates are not verified")
	}
	return files.Client(logger), nil
}

// parseUpstream parses the address of a server.
func parseUpstream(text string) (outbound.Addr, error) {
	addr, err := outbound.ParseAddr(text)
	if err == nil && addr.Network == "tcp" && strings.HasSuffix(addr.Address, ":0") {
		err = fmt.Errorf("%q: no server has port 0", text)
	}
	if err != nil {
		return outbound.Addr{}, usage.Errorf("--upstream %w", err)
	}
	return addr, nil
}

func newRawUpstream(text string, logger *slog.Logger, config *tls.Config) (Backend, error) {
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
	b := newRaw(logger, func(ctx context.Context) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, rawDialTimeout)
		defer cancel()
		conn, err := dial(ctx, addr.Network, addr.Address)
		if netdiag.NotTLS(err) {
			return nil, fmt.Errorf("upstream %s: it doesn't speak TLS (%s)", text, tlsHint)
		}
		if err != nil {
			return nil, fmt.Errorf("upstream %s: %w", text, netdiag.Cause(err))
		}
		return conn, nil
	})
	b.upstream, err = grpc.NewClient("passthrough:///"+addr.Address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return b.forwarder.Dial(ctx) }))
	if err != nil {
		return nil, usage.Errorf("--upstream %s: %w", text, err)
	}
	return b, nil
}

// newProxy returns a backend that passes calls on to the upstreams.
func newProxy(ctx context.Context, o *Options, limits *limit.Process, logger *slog.Logger, config *tls.Config) (Backend, error) {
	us, err := newUpstreams(o, limits, logger, config) //nolint:contextcheck // as above
	if err != nil {
		return nil, err
	}
	following, stop := context.WithCancel(ctx)
	b := &proxyBackend{upstreams: us}
	b.grpcBackend = &grpcBackend{
		limits:  limits,
		codec:   proxy.Codec,
		options: append(us.proxy.ServerOptions(), grpc.ChainStreamInterceptor(us.intercept)),
		health:  us.health,
		register: func(g *limit.Server) {
			grpc_health_v1.RegisterHealthServer(g, &upstreamHealth{us.health, us})
			if o.NoReflection {
				reflection.RegisterUnimplemented(g) // otherwise the proxy would pass these calls on
			} else {
				us.merged.Register(g)
			}
		},
		finders:    us.finders(),
		closeFirst: stop,
	}
	us.own = b.serviceInfo()
	for i := range us.all {
		b.following.Go(func() { us.follow(following, i) })
	}
	return b, nil
}

// proxyBackend closes the upstreams after the last call.
type proxyBackend struct {
	*grpcBackend
	upstreams *upstreams
	following sync.WaitGroup
}

// Upstreams returns the states of the upstreams, in the order of the flags.
func (b *proxyBackend) Upstreams() []monitor.Upstream { return b.upstreams.statuses() }

func (b *proxyBackend) Shutdown(ctx context.Context, sessions *tunnel.Sessions) error {
	err := b.grpcBackend.Shutdown(ctx, sessions)
	b.following.Wait()
	for _, u := range b.upstreams.all {
		_ = u.Close()
	}
	return err
}
