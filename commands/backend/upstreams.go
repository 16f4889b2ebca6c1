package backend

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/limit"
	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/outbound"
	"github.com/wstun/wstun/tunnel/proxy"
)

const (
	// describeTimeout bounds one attempt to get an upstream's descriptors, and
	// describeRetry is the time between a failed attempt and the next one.
	describeTimeout = 20 * time.Second
	describeRetry   = 5 * time.Second
)

// reflectionState says whether an upstream has reflection.
type reflectionState int

const (
	reflectionUnknown reflectionState = iota
	hasReflection
	hasNoReflection
)

// upstreams are the servers to which calls are forwarded, with their services and health.
// Slices have an element for each upstream, in the order of the flags.
type upstreams struct {
	logger *slog.Logger
	limits *limit.Process // of descriptors
	proxy  *proxy.Proxy
	all    []*proxy.Upstream
	local  *reflection.Set // for services that their reflection lacks; may be nil
	header metadata.MD     // of reflection requests
	merged *reflection.Merged
	health *health.Server
	own    map[string]grpc.ServiceInfo // this server's services, whose calls are not forwarded; set before follow

	failures []netdiag.Failure // to describe; element i belongs to follow(i)

	noReflection bool          // this server has none
	askTimeout   time.Duration // how long calls may wait for upstreams at the start

	mu         sync.Mutex // guards the fields below
	reflection []reflectionState
	asked      []bool                   // for the services, or it is down, or askTimeout is over
	reported   map[string]bool          // services that an upstream's reflection has; they are routed to it
	changed    chan struct{}            // closed, and replaced, after a change of the other fields
	states     []servingStatus          // UNKNOWN at first
	services   map[string]servingStatus // the statuses in health
}

// newUpstreams checks the flags for upstreams, and returns the upstreams without
// connecting to them. The caller sets own, runs follow for each upstream, and closes all.
func newUpstreams(o *Options, limits *limit.Process, logger *slog.Logger, config *tls.Config) (*upstreams, error) {
	local, err := o.Descriptors.Load()
	if err != nil {
		return nil, err
	}
	header, err := endpoint.Metadata("reflect-header", o.ReflectHeader, o.ExpandHeaders, o.Secrets)
	if err != nil {
		return nil, err
	}
	authority, err := outbound.ASCIIHost(o.Authority)
	if err != nil {
		return nil, usage.Errorf("--upstream-authority %w", err)
	}
	n := len(o.Upstreams)
	us := &upstreams{
		logger: logger, limits: limits, local: local, header: header, health: health.NewServer(),
		merged:       reflection.NewMerged(n, logger),
		failures:     make([]netdiag.Failure, n),
		noReflection: o.NoReflection, askTimeout: cmp.Or(o.askTimeout, healthTimeout),
		reflection: make([]reflectionState, n), asked: make([]bool, n), changed: make(chan struct{}),
		states: make([]servingStatus, n),
	}
	us.health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	us.merged.SetFallback(local)
	for _, text := range o.Upstreams {
		addr, err := parseUpstream(text)
		if err != nil {
			return nil, err
		}
		u, err := proxy.NewUpstream(addr.String(), &proxy.UpstreamOptions{TLS: config, TLSHint: tlsHint, Authority: authority, Logger: logger})
		if err != nil {
			return nil, usage.Errorf("--upstream %s: %w", text, err)
		}
		us.all = append(us.all, u)
	}
	us.proxy = proxy.New(us.all)
	return us, nil
}

// follow keeps upstream i connected, and its descriptors and health up to date, until ctx
// ends. It gets the descriptors each time the upstream comes up, and retries that.
func (us *upstreams) follow(ctx context.Context, i int) {
	cc := us.all[i].Conn()
	logger := us.logger.With(slog.String("target", us.all[i].Addr()))
	described, down := false, false
	asked := sync.OnceFunc(func() { us.setAsked(i) })
	defer asked()
	defer time.AfterFunc(us.askTimeout, asked).Stop()
	for {
		state := cc.GetState()
		waiting, cancel := ctx, context.CancelFunc(func() {})
		switch state {
		case connectivity.Idle:
			cc.Connect()
		case connectivity.Ready:
			us.setHealth(i, grpc_health_v1.HealthCheckResponse_SERVING) // first, because describe may take long
			if !described {
				described = us.describe(ctx, i)
				us.setHealth(i, grpc_health_v1.HealthCheckResponse_SERVING)
				asked()
			}
			if down {
				down = false
				logger.Info("upstream up")
			}
			if !described {
				waiting, cancel = context.WithTimeout(ctx, describeRetry)
			}
		case connectivity.TransientFailure:
			us.setHealth(i, grpc_health_v1.HealthCheckResponse_NOT_SERVING)
			if !down {
				down = true
				logger.Warn("upstream down", slog.String("err", downReason(us.all[i])))
			}
			asked()
		case connectivity.Connecting, connectivity.Shutdown:
		}
		if cc.WaitForStateChange(waiting, state) && state == connectivity.Ready {
			described = false // it may be another version when it comes back
		}
		cancel()
		if ctx.Err() != nil {
			return
		}
	}
}

// finders returns a source of descriptors for each upstream, and the local files.
func (us *upstreams) finders() (finders []reflection.Finder) {
	for _, u := range us.all {
		finders = append(finders, reflection.FromServer(u.Conn(), us.header))
	}
	return append(finders, reflection.FromSet(us.local))
}

// describe gets the descriptors of upstream i by reflection, and updates the routing. It
// returns false, and keeps the previous descriptors, if that failed but may succeed later.
// An upstream without reflection isn't a failure.
func (us *upstreams) describe(ctx context.Context, i int) bool {
	ctx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	logger := us.logger.With(slog.String("target", us.all[i].Addr()))
	server := reflection.FromServer(us.all[i].Conn(), us.header)
	server.SetMemory(us.limits)
	set, err := server.Files(ctx)
	switch {
	case errors.Is(err, reflection.ErrNoReflection):
		us.failures[i].Clear()
		us.describeWithoutReflection(i, logger)
		return true
	case err != nil && (errors.Is(ctx.Err(), context.Canceled) || !us.failures[i].IsNew(err)):
		return false // stopping, or logged before
	case err != nil:
		attrs := []any{slog.Any("err", err)}
		if code := status.Code(err); code == codes.Unauthenticated || code == codes.PermissionDenied {
			attrs = append(attrs, slog.String("hint", "--reflect-header"))
		}
		logger.Warn("reflection", attrs...)
		return false
	}
	us.failures[i].Clear()
	us.merged.Set(i, set)
	logger.Info("upstream described", slog.Int("services", us.route(i, hasReflection)))
	return true
}

// describeWithoutReflection removes the descriptors of upstream i, and updates the routing:
// the upstream may get the services known only from files.
func (us *upstreams) describeWithoutReflection(i int, logger *slog.Logger) {
	us.merged.Set(i, nil)
	services := us.route(i, hasNoReflection)
	if us.local == nil {
		logger.Warn("the upstream has no reflection: its services can be called, but not listed", slog.String("hint", "--proto or --protoset"))
	} else {
		logger.Info("upstream described", slog.Int("services", services))
	}
}

// route stores the reflection state of upstream i, updates the routing of calls to all
// upstreams, and returns the number of services of upstream i.
func (us *upstreams) route(i int, state reflectionState) int {
	us.mu.Lock()
	defer us.mu.Unlock()
	if state == hasNoReflection && us.reflection[i] != state && slices.Contains(us.reflection, state) {
		us.logger.Warn("several upstreams have no reflection: the first of them gets the calls",
			slog.String("target", us.all[i].Addr()), slog.String("hint", "a wstun serve for each"))
	}
	us.reflection[i] = state
	us.reported = make(map[string]bool)
	for k := range us.all {
		if us.reflection[k] != hasReflection {
			continue
		}
		for _, service := range us.merged.ServicesOf(k) {
			us.reported[service] = true
		}
	}
	if state == hasReflection {
		us.warnOfShared(i)
	}
	for k, u := range us.all {
		switch {
		case us.reflection[k] == hasReflection, us.reflection[k] == hasNoReflection && us.local != nil:
			us.proxy.SetServices(u, us.servicesOf(k))
		case us.reflection[k] == hasNoReflection:
			us.proxy.SetServices(u, nil)
		}
	}
	us.notify()
	return len(us.servicesOf(i))
}

// warnOfShared logs a warning if upstream i and another one have the same services,
// because the user may expect load balancing, but there is none. The caller holds mu.
func (us *upstreams) warnOfShared(i int) {
	own := us.servicesOf(i)
	for k, u := range us.all {
		if k == i || us.reflection[k] != hasReflection {
			continue
		}
		others := make(map[string]bool)
		for _, service := range us.servicesOf(k) {
			others[service] = true
		}
		both := slices.DeleteFunc(slices.Clone(own), func(service string) bool { return !others[service] })
		if len(both) > 0 {
			const few = 5
			us.logger.Warn("another upstream has the same services: the first of the two gets the calls",
				slog.String("target", us.all[i].Addr()), slog.String("other", u.Addr()),
				slog.Int("count", len(both)), slog.String("services", strings.Join(both[:min(few, len(both))], " ")))
		}
	}
}

// servicesOf returns the services that upstream i reports, minus those that this server
// implements itself, plus, for the fallback upstream, those known only from files. An
// earlier upstream may have some of them, too. The result is never nil. The caller holds mu.
func (us *upstreams) servicesOf(i int) []string {
	services := append([]string{}, us.merged.ServicesOf(i)...) // not nil, which means unknown
	if i == us.fallback() {
		for _, service := range us.local.Services() {
			if !us.reported[service] {
				services = append(services, service)
			}
		}
	}
	return slices.DeleteFunc(services, func(service string) bool {
		_, ok := us.own[service]
		return ok
	})
}

// owner returns the first upstream that has a service, or the fallback if none has.
func (us *upstreams) owner(service string) *proxy.Upstream {
	us.mu.Lock()
	defer us.mu.Unlock()
	for k, u := range us.all {
		if slices.Contains(us.servicesOf(k), service) {
			return u
		}
	}
	return us.all[us.fallback()]
}

// fallback returns the upstream for the services known only from files: the first one
// without reflection, else the first whose reflection is unknown, else the first. The
// caller holds mu.
func (us *upstreams) fallback() int {
	return max(0, cmp.Or(slices.Index(us.reflection, hasNoReflection)+1, slices.Index(us.reflection, reflectionUnknown)+1)-1)
}

// setHealth sets the health of upstream i, and updates that of all services: a service has
// the health of the first upstream that has it, and is unknown if no upstream has it any
// longer. The server as a whole is serving if one of the upstreams is.
func (us *upstreams) setHealth(i int, state servingStatus) {
	us.mu.Lock()
	defer us.mu.Unlock()
	us.states[i] = state
	us.notify()
	whole := grpc_health_v1.HealthCheckResponse_NOT_SERVING
	if slices.Contains(us.states, grpc_health_v1.HealthCheckResponse_SERVING) {
		whole = grpc_health_v1.HealthCheckResponse_SERVING
	}
	us.health.SetServingStatus("", whole)
	services := make(map[string]servingStatus)
	for service := range us.services { // overwritten below if an upstream still has it
		services[service] = grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN
	}
	for k, s := range slices.Backward(us.states) {
		for _, service := range us.servicesOf(k) {
			services[service] = s
		}
	}
	for service, state := range services {
		us.health.SetServingStatus(service, state)
	}
	us.services = services
}
