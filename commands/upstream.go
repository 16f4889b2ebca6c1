package commands

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/commands/stub"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/proxy"
	"github.com/wstun/wstun/tunnel/wsmux"
)

const (
	// describeTimeout bounds one attempt to get an upstream's descriptors,
	// describeAgain is the time to the next if one fails.
	describeTimeout = 20 * time.Second
	describeAgain   = 5 * time.Second
)

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
		stringsFlag("proto", "take descriptors from the source `FILE`, for upstreams without reflection; repeatable"),
		stringsFlag("import-path", "look for what --proto and its imports name in `DIR`; repeatable (default: the current folder)"),
		stringsFlag("protoset", "take descriptors from the compiled `FILE`, for upstreams without reflection; repeatable"),
		boolFlag("no-reflection", "serve no reflection, not even that of the upstreams"),
		stringsFlag("reflect-header", "send the metadata `'name: value'` when asking upstreams for reflection; repeatable"),
	}
}

// newBackend makes what the upstream flags ask for.
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

// splitUpstream is splitAddr for the address of a server.
func splitUpstream(addr string) (network, address string, err error) {
	network, address, err = splitAddr(addr)
	if err == nil && network == "tcp" && strings.HasSuffix(address, ":0") {
		err = fmt.Errorf("%q: no server has port 0", addr)
	}
	if err != nil {
		return "", "", usagef("--upstream %w", err)
	}
	return network, address, nil
}

func newRaw(c *cli.Context, out *output, addr string, config *tls.Config) (backend, error) {
	if err := rejectFlags(c, "upstreams without --raw", "upstream-authority", "proto", "import-path", "protoset", "reflect-header", "no-reflection"); err != nil {
		return nil, err
	}
	network, address, err := splitUpstream(addr)
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
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, fmt.Errorf("upstream %s: %w", addr, listenCause(err))
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
		return nil, &usageError{err: err, hint: "mend the file of --stub"}
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

// loadDescriptors loads what --proto and --protoset name; nil if they name nothing.
func loadDescriptors(c *cli.Context) (*reflection.Set, error) {
	protos, protosets := c.StringSlice("proto"), c.StringSlice("protoset")
	switch {
	case len(protos) > 0 && len(protosets) > 0:
		return nil, usagef("both --proto and --protoset: one of them says it all")
	case len(protos) > 0:
		set, err := reflection.LoadProtos(protos, c.StringSlice("import-path"))
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

// upstreams are the servers that calls are passed on to, and what is known of
// them.
type upstreams struct {
	out    *output
	proxy  *proxy.Proxy
	all    []*proxy.Upstream
	local  *reflection.Set // for those without reflection; may be nil
	header metadata.MD     // for reflection
	merged *reflection.Merged
	bare   atomic.Pointer[proxy.Upstream] // one without reflection
	grpc   *grpc.Server                   // has services of its own, which no upstream is asked for
	health *health.Server

	mu       sync.Mutex                                                  // guards:
	states   []grpc_health_v1.HealthCheckResponse_ServingStatus          // of each upstream
	services map[string]grpc_health_v1.HealthCheckResponse_ServingStatus // as in health
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
		merged: reflection.NewMerged(len(addrs), out.logger),
		states: make([]grpc_health_v1.HealthCheckResponse_ServingStatus, len(addrs)),
	}
	for i, addr := range addrs {
		us.merged.Set(i, local) // until the upstream has told what it has
		network, address, err := splitUpstream(addr)
		if err != nil {
			return nil, err
		}
		if network == "unix" {
			address = "unix:" + address
		}
		u, err := proxy.NewUpstream(address, &proxy.UpstreamOptions{TLS: config, Authority: c.String("upstream-authority"), Logger: out.logger})
		if err != nil {
			return nil, usagef("--upstream %s: %w", addr, err)
		}
		us.all = append(us.all, u)
	}
	us.proxy = proxy.New(us.all, nil)
	following, stop := context.WithCancel(c.Context)
	var wg sync.WaitGroup
	b := newGRPCBackend(append(wsmux.ServerOptions(), us.proxy.ServerOptions()...), func(g *grpc.Server, h *health.Server) {
		us.grpc, us.health = g, h
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

// follow keeps what is known of upstream i up to date: its descriptors each
// time it comes up, and its health.
func (us *upstreams) follow(ctx context.Context, i int) {
	cc := us.all[i].Conn()
	logger := us.out.logger.With(slog.String("target", us.all[i].Addr()))
	described, down := false, false
	for {
		state := cc.GetState()
		waiting, cancel := ctx, context.CancelFunc(func() {})
		switch state {
		case connectivity.Idle:
			cc.Connect()
		case connectivity.Ready:
			if !described {
				described = us.describe(ctx, i)
			}
			us.setHealth(i, grpc_health_v1.HealthCheckResponse_SERVING)
			if down {
				down = false
				logger.Info("upstream up")
			}
			if !described {
				waiting, cancel = context.WithTimeout(ctx, describeAgain)
			}
		case connectivity.TransientFailure:
			us.setHealth(i, grpc_health_v1.HealthCheckResponse_NOT_SERVING)
			if !down {
				down = true
				logger.Warn("upstream down: calls to it say why")
			}
		case connectivity.Connecting, connectivity.Shutdown:
		}
		if cc.WaitForStateChange(waiting, state) && state == connectivity.Ready {
			described = false // it may come back as another version
		}
		cancel()
		if ctx.Err() != nil {
			return
		}
	}
}

// describe gets the descriptors of upstream i and reports whether there is no
// point in trying again. What was known before stays if that fails.
func (us *upstreams) describe(ctx context.Context, i int) bool {
	ctx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	logger := us.out.logger.With(slog.String("target", us.all[i].Addr()))
	set, err := reflection.FromServer(us.all[i].Conn(), us.header).Files(ctx)
	none := errors.Is(err, reflection.ErrNoReflection)
	if none && !us.bare.CompareAndSwap(nil, us.all[i]) && us.bare.Load() != us.all[i] {
		logger.Warn("several upstreams have no reflection: the first of them gets the calls", slog.String("hint", "a wstun serve for each"))
	}
	switch {
	case none && us.local == nil:
		logger.Warn("the upstream has no reflection: its services can be called, but not listed", slog.String("hint", "--proto or --protoset"))
		return true
	case none:
		set = us.local
	case status.Code(err) == codes.Unauthenticated, status.Code(err) == codes.PermissionDenied:
		logger.Warn("reflection", slog.Any("err", err), slog.String("hint", "--reflect-header"))
		return false
	case err != nil:
		logger.Warn("reflection", slog.Any("err", err))
		return false
	}
	us.merged.Set(i, set)
	services := us.servicesOf(i)
	us.proxy.SetServices(us.all[i], services)
	logger.Info("upstream described", slog.Int("services", len(services)))
	return true
}

// servicesOf returns the services of upstream i that aren't served here.
func (us *upstreams) servicesOf(i int) []string {
	local := us.grpc.GetServiceInfo()
	return slices.DeleteFunc(slices.Clone(us.merged.ServicesOf(i)), func(service string) bool {
		_, ok := local[service]
		return ok
	})
}

// setHealth sets the health of upstream i, and with it that of each service: it is
// that of the first upstream that has it, to which its calls go.
func (us *upstreams) setHealth(i int, state grpc_health_v1.HealthCheckResponse_ServingStatus) {
	us.mu.Lock()
	defer us.mu.Unlock()
	us.states[i] = state
	services := make(map[string]grpc_health_v1.HealthCheckResponse_ServingStatus)
	for service := range us.services { // unless it is still there
		services[service] = grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN
	}
	for k, of := range slices.Backward(us.states) {
		for _, service := range us.servicesOf(k) {
			services[service] = of
		}
	}
	for service, state := range services {
		us.health.SetServingStatus(service, state)
	}
	us.services = services
}
