package backend

import (
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/wstun/wstun/commands/monitor"
)

// statuses returns the states of the upstreams.
func (us *upstreams) statuses() []monitor.Upstream {
	us.mu.Lock()
	defer us.mu.Unlock()
	list := make([]monitor.Upstream, len(us.all))
	for i, u := range us.all {
		list[i] = monitor.Upstream{Address: u.Addr(), Up: us.states[i] == grpc_health_v1.HealthCheckResponse_SERVING}
		if !list[i].Up {
			list[i].Reason = downReason(u)
		}
	}
	return list
}
