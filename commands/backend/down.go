package backend

import (
	"fmt"

	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/wstun/wstun/tunnel/proxy"
)

// DownKey is the key of the response metadata in which a server reports which of its
// upstreams are down, and why: a sentence for each. The responses of reflection and of the
// health service's Check have it. A key with -bin allows any text.
const DownKey = "wstun-down-bin"

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
