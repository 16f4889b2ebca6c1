package backend

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/proxy"
)

const (
	unknown    = grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN
	serving    = grpc_health_v1.HealthCheckResponse_SERVING
	notServing = grpc_health_v1.HealthCheckResponse_NOT_SERVING
)

// frontHealth returns the health service in front of upstream.
func frontHealth(t *testing.T, upstream *grpc.Server) *upstreamHealth {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = upstream.Serve(l)
	}()
	u, err := proxy.NewUpstream("unix:"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = u.Close()
		upstream.Stop()
		<-done
	})
	h := health.NewServer()
	h.SetServingStatus("pkg.Sick", serving)
	h.SetServingStatus("pkg.Down", notServing)
	h.SetServingStatus("pkg.Silent", serving)
	return &upstreamHealth{h, &upstreams{
		all: []*proxy.Upstream{u}, reflection: make([]reflectionState, 1),
		merged: reflection.NewMerged(1, slog.New(slog.DiscardHandler)),
	}}
}

func TestUpstreamHealth(t *testing.T) {
	t.Parallel()
	said := health.NewServer()
	said.SetServingStatus("pkg.Sick", notServing)
	said.SetServingStatus("pkg.Down", serving) // but it can't be reached
	said.SetServingStatus("readiness", serving)
	with := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(with, said)
	for name, tt := range map[string]struct {
		upstream *grpc.Server
		want     map[string]servingStatus
	}{
		"with": {with, map[string]servingStatus{
			"": serving, "pkg.Sick": notServing, "pkg.Down": notServing, "pkg.Silent": serving, "readiness": serving, "none": unknown,
		}},
		"without": {grpc.NewServer(), map[string]servingStatus{
			"": serving, "pkg.Sick": serving, "pkg.Down": notServing, "pkg.Silent": serving, "none": unknown,
		}},
	} {
		h := frontHealth(t, tt.upstream)
		for service, want := range tt.want {
			out, err := h.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
			if want == unknown && status.Code(err) == codes.NotFound {
				continue
			}
			if err != nil || out.GetStatus() != want {
				t.Errorf("%s a health service: Check(%q) = %v, %v, want %v", name, service, out.GetStatus(), err, want)
			}
		}
	}
}

// sentHealth is a stream that records the statuses sent.
type sentHealth struct {
	grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]
	ctx context.Context //nolint:containedctx // it is a stream's
	all []servingStatus
}

func (s *sentHealth) Context() context.Context { return s.ctx }

func (s *sentHealth) Send(out *grpc_health_v1.HealthCheckResponse) error {
	s.all = append(s.all, out.GetStatus())
	return nil
}

// A Watch reports the changes of an upstream's health, and doesn't delay its
// GracefulStop.
func TestUpstreamHealthWatch(t *testing.T) {
	t.Parallel()
	said := health.NewServer()
	upstream := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(upstream, said)
	h := frontHealth(t, upstream)
	stream := &sentHealth{ctx: t.Context()}
	w := newHealthWatch(h, "pkg.Sick", stream)
	if err := w.Send(&grpc_health_v1.HealthCheckResponse{Status: serving}); err != nil {
		t.Fatal(err)
	}
	for _, s := range []servingStatus{notServing, notServing, serving} {
		said.SetServingStatus("pkg.Sick", s)
		w.recheck(t.Context())
	}
	upstream.GracefulStop()
	w.recheck(t.Context())
	if want := []servingStatus{serving, notServing, serving, notServing}; !slices.Equal(stream.all, want) {
		t.Errorf("sent %v, want %v", stream.all, want)
	}
}

// The health of a service that no upstream reports is that of the upstream that gets its
// calls.
func TestOwnerOfUnknownService(t *testing.T) {
	t.Parallel()
	us := &upstreams{
		all: make([]*proxy.Upstream, 2), reflection: []reflectionState{hasReflection, hasNoReflection},
		merged: reflection.NewMerged(2, nil),
	}
	for i := range us.all {
		u, err := proxy.NewUpstream("127.0.0.1:1", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
		us.all[i] = u
	}
	if us.owner("pkg.Unknown") != us.all[1] {
		t.Error("the owner is not the upstream without reflection")
	}
}
