package commands

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
	// askTimeout bounds how long an upstream may take to tell of its health,
	// askAgain is the time to the next question while somebody watches.
	askTimeout = 5 * time.Second
	askAgain   = 5 * time.Second
)

type servingStatus = grpc_health_v1.HealthCheckResponse_ServingStatus

// upstreamHealth is the health service in front of upstreams. Of one that can be
// reached it says what that says of itself, if it has a health service and knows
// the name. It only ever asks with short calls: a Watch would hold up the
// upstream's GracefulStop.
type upstreamHealth struct {
	*health.Server // whether the upstreams can be reached
	us             *upstreams
}

func (h *upstreamHealth) Check(
	ctx context.Context, in *grpc_health_v1.HealthCheckRequest,
) (*grpc_health_v1.HealthCheckResponse, error) {
	out, err := h.Server.Check(ctx, in)
	reached := out.GetStatus()
	if status.Code(err) == codes.NotFound {
		reached = grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN
	} else if err != nil {
		return nil, err
	}
	s := h.ask(ctx, in.GetService(), reached)
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

// healthWatch is the stream of one Watch, which the local health service sends
// to.
type healthWatch struct {
	grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]
	h       *upstreamHealth
	service string

	mu            sync.Mutex // guards:
	reached, sent servingStatus
}

func newHealthWatch(
	h *upstreamHealth, service string, stream grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse],
) *healthWatch {
	return &healthWatch{ServerStreamingServer: stream, h: h, service: service, sent: nothing}
}

// nothing is no status.
const nothing servingStatus = -1

// Send sends what the upstream says if it can be reached.
func (w *healthWatch) Send(out *grpc_health_v1.HealthCheckResponse) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reached = out.GetStatus()
	return w.tell(w.Context())
}

// again asks the upstream again.
func (w *healthWatch) again(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sent != nothing {
		_ = w.tell(ctx) // the stream has ended then
	}
}

// tell sends the status if that has changed. The caller holds mu.
func (w *healthWatch) tell(ctx context.Context) error {
	s := w.h.ask(ctx, w.service, w.reached)
	if s != w.sent && ctx.Err() == nil {
		w.sent = s
		return w.ServerStreamingServer.Send(&grpc_health_v1.HealthCheckResponse{Status: s})
	}
	return nil
}

// poll asks again and again until ctx ends.
func (w *healthWatch) poll(ctx context.Context) {
	t := time.NewTicker(askAgain)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			w.again(ctx)
		}
	}
}

// ask returns what the upstream that has a service says of it; reached, which is
// known here, if it says nothing.
func (h *upstreamHealth) ask(ctx context.Context, service string, reached servingStatus) servingStatus {
	if service == "" || reached == grpc_health_v1.HealthCheckResponse_NOT_SERVING {
		return reached
	}
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	client := grpc_health_v1.NewHealthClient(h.us.owner(service).Conn())
	out, err := client.Check(asking, &grpc_health_v1.HealthCheckRequest{Service: service})
	switch code := status.Code(err); {
	case code == codes.OK:
		return out.GetStatus()
	case reached == grpc_health_v1.HealthCheckResponse_SERVING && (code == codes.Unavailable || code == codes.DeadlineExceeded):
		return grpc_health_v1.HealthCheckResponse_NOT_SERVING
	default: // it has no health service, or doesn't know the name, or tells others
		return reached
	}
}
