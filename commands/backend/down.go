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

// reportDown is the interceptor of a server that sends DownKey. Package limit serves unary
// methods as streams, too.
func (us *upstreams) reportDown(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if info.FullMethod == grpc_health_v1.Health_Check_FullMethodName || strings.HasPrefix(info.FullMethod, "/grpc.reflection.") {
		_ = stream.SetHeader(us.down(stream.Context())) // an error means that the call has ended
	}
	return handler(srv, stream)
}

// down waits until the state of each upstream is known, for at most healthTimeout, and
// returns the metadata with DownKey.
func (us *upstreams) down(ctx context.Context) metadata.MD {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	for _, known := range us.known {
		select {
		case <-known:
		case <-ctx.Done():
		}
	}
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
