package backend

import (
	"context"
	"path"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// intercept is the interceptor of a server. It delays answers that would be false at the start:
// of Health/Check until the states of the upstreams are known, of reflection until their services
// are, and of other calls until it is known which of several upstreams has the service. It adds
// DownKey to the first two. Package limit serves unary methods as streams, too.
func (us *upstreams) intercept(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	isHealth := info.FullMethod == grpc_health_v1.Health_Check_FullMethodName
	isReflection := strings.HasPrefix(info.FullMethod, "/grpc.reflection.")
	var err error
	switch {
	case isHealth, isReflection && us.noReflection:
		err = us.await(stream.Context(), us.statesAreKnown)
	case isReflection:
		err = us.await(stream.Context(), us.allAsked)
	case len(us.all) > 1:
		service := path.Dir(strings.TrimPrefix(info.FullMethod, "/"))
		if _, isOwn := us.own[service]; !isOwn {
			err = us.await(stream.Context(), func() bool { return us.reported[service] || us.allAsked() })
		}
	}
	if err != nil {
		return err
	}
	if isHealth || isReflection {
		_ = stream.SetHeader(us.down()) // an error means that the call has ended
	}
	return handler(srv, stream)
}

// await waits until isDone returns true. If ctx ends first, it returns the status for that. It
// calls isDone, which holds mu, again after each change of the upstreams.
func (us *upstreams) await(ctx context.Context, isDone func() bool) error {
	for {
		us.mu.Lock()
		done, changed := isDone(), us.changed
		us.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
}

// notify makes await look again. The caller holds mu.
func (us *upstreams) notify() {
	close(us.changed)
	us.changed = make(chan struct{})
}

// setAsked records that nothing waits for upstream i any longer.
func (us *upstreams) setAsked(i int) {
	us.mu.Lock()
	defer us.mu.Unlock()
	us.asked[i] = true
	us.notify()
}

// allAsked reports whether the services of all upstreams are known, as far as they can be. The
// caller holds mu.
func (us *upstreams) allAsked() bool { return !slices.Contains(us.asked, false) }

// statesAreKnown reports whether the states of all upstreams are known, as far as they can be. The
// caller holds mu.
func (us *upstreams) statesAreKnown() bool {
	for i, asked := range us.asked {
		if !asked && us.states[i] == grpc_health_v1.HealthCheckResponse_UNKNOWN {
			return false
		}
	}
	return true
}
