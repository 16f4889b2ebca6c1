package backend

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

const (
	// healthTimeout bounds one Check of an upstream's health, and healthInterval is
	// the time between two of them during a Watch.
	healthTimeout  = 5 * time.Second
	healthInterval = 5 * time.Second
)

type servingStatus = grpc_health_v1.HealthCheckResponse_ServingStatus

// upstreamHealth is the health service in front of upstreams. It returns the answer of
// the service's upstream, or, if that has no health service or can't be reached,
// whether it can be reached. It sends Checks alone, because a Watch would delay the
// upstream's GracefulStop.
type upstreamHealth struct {
	*health.Server // says whether the upstreams can be reached
	us             *upstreams
}

func (h *upstreamHealth) Check(
	ctx context.Context, in *grpc_health_v1.HealthCheckRequest,
) (*grpc_health_v1.HealthCheckResponse, error) {
	out, err := h.Server.Check(ctx, in)
	if status.Code(err) == codes.NotFound { // or not known yet
		if err := h.us.await(ctx, h.us.allAsked); err != nil {
			return nil, err
		}
		out, err = h.Server.Check(ctx, in)
	}
	reached := out.GetStatus()
	if status.Code(err) == codes.NotFound {
		reached = grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN
	} else if err != nil {
		return nil, err
	}
	s := h.check(ctx, in.GetService(), reached)
	if err != nil && s == reached {
		return nil, err
	}
	return &grpc_health_v1.HealthCheckResponse{Status: s}, nil
}

func (h *upstreamHealth) Watch(
	in *grpc_health_v1.HealthCheckRequest, stream grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse],
) error {
	w := newHealthWatch(h, in.GetService(), stream)
	ctx, cancel := context.WithCancel(stream.Context())
	var wg sync.WaitGroup
	wg.Go(func() { w.poll(ctx) })
	defer wg.Wait()
	defer cancel()
	return h.Server.Watch(in, w)
}

// healthWatch is the stream of one Watch, to which the local health service sends.
type healthWatch struct {
	grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]
	h       *upstreamHealth
	service string

	mu            sync.Mutex // guards the fields below
	reached, sent servingStatus
}

func newHealthWatch(
	h *upstreamHealth, service string, stream grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse],
) *healthWatch {
	return &healthWatch{ServerStreamingServer: stream, h: h, service: service, sent: nothing}
}

// nothing is the status before the first one.
const nothing servingStatus = -1

// Send sends the upstream's own status, or out if the upstream has none.
func (w *healthWatch) Send(out *grpc_health_v1.HealthCheckResponse) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reached = out.GetStatus()
	return w.update(w.Context())
}

// recheck checks the upstream's health again.
func (w *healthWatch) recheck(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sent != nothing {
		_ = w.update(ctx) // an error means that the stream has ended
	}
}

// update sends the status if it has changed. The caller holds mu.
func (w *healthWatch) update(ctx context.Context) error {
	s := w.h.check(ctx, w.service, w.reached)
	if s != w.sent && ctx.Err() == nil {
		w.sent = s
		return w.ServerStreamingServer.Send(&grpc_health_v1.HealthCheckResponse{Status: s})
	}
	return nil
}

// poll calls recheck at an interval until ctx ends.
func (w *healthWatch) poll(ctx context.Context) {
	t := time.NewTicker(healthInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			w.recheck(ctx)
		}
	}
}

// check returns the status of a service by its upstream, or reached if the upstream
// doesn't know.
func (h *upstreamHealth) check(ctx context.Context, service string, reached servingStatus) servingStatus {
	if service == "" || reached == grpc_health_v1.HealthCheckResponse_NOT_SERVING {
		return reached
	}
	checking, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	client := grpc_health_v1.NewHealthClient(h.us.owner(service).Conn())
	out, err := client.Check(checking, &grpc_health_v1.HealthCheckRequest{Service: service})
	switch code := status.Code(err); {
	case code == codes.OK:
		return out.GetStatus()
	case reached == grpc_health_v1.HealthCheckResponse_SERVING && (code == codes.Unavailable || code == codes.DeadlineExceeded):
		return grpc_health_v1.HealthCheckResponse_NOT_SERVING
	default: // it has no health service, doesn't know the name, or refuses this caller
		return reached
	}
}
