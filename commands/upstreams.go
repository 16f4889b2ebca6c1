package commands

import (
	"cmp"
	"context"
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

	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/proxy"
)

const (
	// describeTimeout bounds one attempt to get an upstream's descriptors,
	// describeAgain is the time to the next if one fails.
	describeTimeout = 20 * time.Second
	describeAgain   = 5 * time.Second
)

// told is what an upstream has told of itself.
type told int

const (
	silent    told = iota // nothing yet
	described             // its services, by reflection
	bare                  // that it has no reflection
)

// upstreams are the servers that calls are passed on to, and what is known of
// them.
type upstreams struct {
	out    *output
	proxy  *proxy.Proxy
	all    []*proxy.Upstream
	local  *reflection.Set // for what their reflection lacks; may be nil
	header metadata.MD     // for reflection
	merged *reflection.Merged
	grpc   *grpc.Server // has services of its own, which no upstream is asked for
	health *health.Server

	failures []string // to describe each upstream, the latest; its follow's own

	mu       sync.Mutex               // guards:
	told     []told                   // by each upstream
	states   []servingStatus          // of each upstream
	services map[string]servingStatus // as in health
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
			us.setHealth(i, grpc_health_v1.HealthCheckResponse_SERVING) // now: to describe may take long
			if !described {
				described = us.describe(ctx, i)
				us.setHealth(i, grpc_health_v1.HealthCheckResponse_SERVING)
			}
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
	switch {
	case errors.Is(err, reflection.ErrNoReflection):
		return us.describeBare(i, logger)
	case err != nil && (errors.Is(ctx.Err(), context.Canceled) || err.Error() == us.failures[i]):
		return false // it ends here, or was said before
	case err != nil:
		us.failures[i] = err.Error()
		attrs := []any{slog.Any("err", err)}
		if code := status.Code(err); code == codes.Unauthenticated || code == codes.PermissionDenied {
			attrs = append(attrs, slog.String("hint", "--reflect-header"))
		}
		logger.Warn("reflection", attrs...)
		return false
	}
	us.failures[i] = ""
	us.merged.Set(i, set)
	logger.Info("upstream described", slog.Int("services", us.route(i, described)))
	return true
}

// describeBare is describe for an upstream without reflection.
func (us *upstreams) describeBare(i int, logger *slog.Logger) bool {
	us.mu.Lock()
	several := us.told[i] != bare && slices.Contains(us.told, bare)
	us.mu.Unlock()
	if several {
		logger.Warn("several upstreams have no reflection: the first of them gets the calls", slog.String("hint", "a wstun serve for each"))
	}
	us.merged.Set(i, nil)
	services := us.route(i, bare)
	if us.local == nil {
		logger.Warn("the upstream has no reflection: its services can be called, but not listed", slog.String("hint", "--proto or --protoset"))
	} else {
		logger.Info("upstream described", slog.Int("services", services))
	}
	return true
}

// route has calls go by what upstream i has told, and returns how many services
// are its own then.
func (us *upstreams) route(i int, t told) int {
	us.mu.Lock()
	defer us.mu.Unlock()
	us.told[i] = t
	if t == described {
		us.warnOfShared(i)
	}
	for k, u := range us.all {
		switch {
		case us.told[k] == described, us.told[k] == bare && us.local != nil:
			us.proxy.SetServices(u, us.servicesOf(k))
		case us.told[k] == bare:
			us.proxy.SetServices(u, nil)
		}
	}
	return len(us.servicesOf(i))
}

// warnOfShared warns when upstream i has services that another one has told of: it
// may be meant for balancing, which this isn't. The caller holds mu.
func (us *upstreams) warnOfShared(i int) {
	own := us.servicesOf(i)
	for k, u := range us.all {
		if k == i || us.told[k] != described {
			continue
		}
		others := make(map[string]bool)
		for _, service := range us.servicesOf(k) {
			others[service] = true
		}
		both := slices.DeleteFunc(slices.Clone(own), func(service string) bool { return !others[service] })
		if len(both) > 0 {
			const few = 5
			us.out.logger.Warn("another upstream has the same services: the first of the two gets the calls",
				slog.String("target", us.all[i].Addr()), slog.String("other", u.Addr()),
				slog.Int("count", len(both)), slog.String("services", strings.Join(both[:min(few, len(both))], " ")))
		}
	}
}

// servicesOf returns the services that calls go to upstream i for, if no upstream
// before it has them: those that it tells of but that are served here, and, if it
// is the one to fill, those that only the files know. The caller holds mu.
func (us *upstreams) servicesOf(i int) []string {
	services := append([]string{}, us.merged.ServicesOf(i)...) // not nil, which means not known
	if i == us.filled() {
		told := make(map[string]bool)
		for k := range us.all {
			for _, service := range us.merged.ServicesOf(k) {
				told[service] = true
			}
		}
		for _, service := range us.local.Services() {
			if !told[service] {
				services = append(services, service)
			}
		}
	}
	here := us.grpc.GetServiceInfo()
	return slices.DeleteFunc(services, func(service string) bool {
		_, ok := here[service]
		return ok
	})
}

// owner returns the upstream that has a service, else the first.
func (us *upstreams) owner(service string) *proxy.Upstream {
	us.mu.Lock()
	defer us.mu.Unlock()
	for k, u := range us.all {
		if slices.Contains(us.servicesOf(k), service) {
			return u
		}
	}
	return us.all[0]
}

// filled is the upstream that has what only the files know: the first without
// reflection, else the first that hasn't told yet, else the first. The caller
// holds mu.
func (us *upstreams) filled() int {
	return max(0, cmp.Or(slices.Index(us.told, bare)+1, slices.Index(us.told, silent)+1)-1)
}

// setHealth sets the health of upstream i, and with it that of each service: it is
// that of the first upstream that has it, to which its calls go.
func (us *upstreams) setHealth(i int, state servingStatus) {
	us.mu.Lock()
	defer us.mu.Unlock()
	us.states[i] = state
	services := make(map[string]servingStatus)
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
