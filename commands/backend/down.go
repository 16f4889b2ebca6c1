package backend

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/wstun/wstun/tunnel/proxy"
)

// DownKey is the key of the response metadata in which a server reports which of its
// upstreams are down, and why: a sentence for each. The responses of reflection and of the
// health service's Check have it. A key with -bin allows any text.
const DownKey = "wstun-down-bin"

// intercept is the interceptor of a server. It delays answers that would be false: of Health/Check
// until the states of the upstreams are known, of reflection until their services are, and other
// calls until one of several upstreams is known to have the service, or all have been asked. It
// adds DownKey to the first two.
func (us *upstreams) intercept(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	isHealth := info.FullMethod == grpc_health_v1.Health_Check_FullMethodName
	isReflection := strings.HasPrefix(info.FullMethod, "/grpc.reflection.")
	switch {
	case isHealth:
		awaitAll(stream.Context(), us.known)
	case isReflection, us.isUnknown(info.FullMethod):
		awaitAll(stream.Context(), us.asked)
	}
	if isHealth || isReflection {
		_ = stream.SetHeader(us.down()) // an error means that the call has ended
	}
	return handler(srv, stream)
}

// awaitAll waits until all channels are closed, for at most healthTimeout.
func awaitAll(ctx context.Context, channels []chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	for _, c := range channels {
		select {
		case <-c:
		case <-ctx.Done():
		}
	}
}

// down returns the metadata with DownKey.
func (us *upstreams) down() metadata.MD {
	us.mu.Lock()
	defer us.mu.Unlock()
	md := metadata.MD{}
	for i, u := range us.all {
		if us.states[i] == grpc_health_v1.HealthCheckResponse_SERVING {
			continue
		}
		md.Append(DownKey, fmt.Sprintf("upstream %s is down: %s", u.Addr(), downReason(u)))
	}
	return md
}

// downReason returns why an upstream is down.
func downReason(u *proxy.Upstream) string {
	if err := u.Err(); err != nil {
		return err.Error()
	}
	return "no HTTP/2 connection"
}
