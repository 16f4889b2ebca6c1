package proxy

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	channelzpb "google.golang.org/grpc/channelz/grpc_channelz_v1"
	channelz "google.golang.org/grpc/channelz/service"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
)

func TestRoutes(t *testing.T) {
	t.Parallel()
	a, b, c := &Upstream{addr: "a"}, &Upstream{addr: "b"}, &Upstream{addr: "c"}
	none := []string{}
	tests := []struct {
		name    string
		tables  map[*Upstream][]string
		service string
		want    *Upstream
	}{
		{"nothing known", nil, "x.Y", a},
		{"in one", map[*Upstream][]string{a: {"a.A"}, b: {"x.Y"}, c: {"c.C"}}, "x.Y", b},
		{"in two", map[*Upstream][]string{a: {"a.A"}, b: {"x.Y"}, c: {"x.Y"}}, "x.Y", b},
		{"in one, before it not known", map[*Upstream][]string{b: {"x.Y"}}, "x.Y", b},
		{"in none, one not known", map[*Upstream][]string{a: {"a.A"}, c: {"c.C"}}, "x.Y", b},
		{"in none, two not known", map[*Upstream][]string{a: {"a.A"}}, "x.Y", b},
		{"known to have none", map[*Upstream][]string{a: none}, "x.Y", b},
		{"in none", map[*Upstream][]string{a: none, b: none, c: {"c.C"}}, "x.Y", a},
	}
	for _, tt := range tests {
		got, guess := newRoutes([]*Upstream{a, b, c}, tt.tables).find(tt.service)
		if got != tt.want || guess != (tt.name == "in none") {
			t.Errorf("%s: got %v, %v", tt.name, got, guess)
		}
	}
}

func TestUnknownService(t *testing.T) {
	t.Parallel()
	many := make([]string, 50)
	for i := range many {
		many[i] = fmt.Sprintf("s%02d", i)
	}
	long := strings.Repeat("x", 1000)
	tests := []struct {
		services []string
		service  string
		want     string
	}{
		{[]string{"b.B", "a.A"}, "x.Y", "unknown service x.Y: the upstreams have a.A, b.B"},
		{[]string{}, "x.Y", "unknown service x.Y: the upstreams have no services"},
		{many, "x.Y", "unknown service x.Y: the upstreams have " + strings.Join(many[:maxNamed], ", ") + " and 30 more"},
		{[]string{"a.A"}, long, "unknown service " + long[:maxName] + "…: the upstreams have a.A"},
	}
	for _, tt := range tests {
		u := &Upstream{}
		err := newRoutes([]*Upstream{u}, map[*Upstream][]string{u: tt.services}).unimplemented(tt.service, nil)
		if st := status.Convert(err); st.Code() != codes.Unimplemented || st.Message() != tt.want {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
	_, err := invoke(t.Context(), proxyTo(t), method, nil)
	if got, want := status.Convert(err).Message(), "unknown service any.Service: the upstreams have no services"; got != want {
		t.Errorf("without upstreams: got %q, want %q", got, want)
	}
}

// TestGuessedUpstream calls a service that no upstream is known to have. The first one
// gets the call; if it returns Unimplemented, the message lists the known services.
func TestGuessedUpstream(t *testing.T) {
	t.Parallel()
	info, err := status.New(codes.Unimplemented, "never heard of it").WithDetails(&errdetails.ErrorInfo{Reason: "R"})
	if err != nil {
		t.Fatal(err)
	}
	const have = ": the upstreams have a.A, b.B"
	for name, tt := range map[string]struct {
		first func(grpc.ServerStream) error
		code  codes.Code
		text  string
	}{
		"implemented":     {echo, codes.OK, ""},
		"unimplemented":   {func(grpc.ServerStream) error { return info.Err() }, codes.Unimplemented, info.Message() + have},
		"without message": {func(grpc.ServerStream) error { return status.Error(codes.Unimplemented, "") }, codes.Unimplemented, "unknown service any.Service" + have},
		"another status":  {func(grpc.ServerStream) error { return status.Error(codes.NotFound, "no") }, codes.NotFound, "no"},
		"unimplemented after headers": {func(s grpc.ServerStream) error {
			if err := s.SendHeader(nil); err != nil {
				return err
			}
			return status.Error(codes.Unimplemented, "half of it")
		}, codes.Unimplemented, "half of it"},
	} {
		a, b := upstream(t, serveRaw(t, tt.first), nil), upstream(t, serveRaw(t, echo), nil)
		p := New([]*Upstream{a, b})
		p.SetServices(a, []string{"a.A"})
		p.SetServices(b, []string{"b.B"})
		_, err := invoke(t.Context(), client(t, serve(t, nil, p.ServerOptions()...)), method, []byte("x"))
		st := status.Convert(err)
		if st.Code() != tt.code || st.Message() != tt.text {
			t.Errorf("%s: got %v", name, err)
		}
		if name == "unimplemented" && len(st.Details()) != 1 {
			t.Errorf("%s: details %v", name, st.Details())
		}
	}
}

// TestSetServices moves a service from one upstream to another.
func TestSetServices(t *testing.T) {
	t.Parallel()
	name := func(name string) *Upstream {
		return upstream(t, serveRaw(t, func(s grpc.ServerStream) error { return s.SendMsg(newRawMessage([]byte(name))) }), nil)
	}
	a, b := name("a"), name("b")
	p := New([]*Upstream{a, b})
	cc := client(t, serve(t, nil, p.ServerOptions()...))
	want := func(want string) {
		t.Helper()
		if got, err := invoke(t.Context(), cc, method, nil); string(got) != want || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	want("a")
	p.SetServices(a, []string{"other.Service"})
	want("b")
	p.SetServices(b, []string{"any.Service"})
	want("b")
	p.SetServices(a, []string{"any.Service"})
	want("a")
	p.SetServices(a, nil)
	want("b")
	p.SetServices(b, nil)
	want("a")
}

// TestLocalServices calls services of the proxy's own server.
func TestLocalServices(t *testing.T) {
	t.Parallel()
	cc := client(t, serve(t, func(s *grpc.Server) {
		healthpb.RegisterHealthServer(s, health.NewServer())
		channelz.RegisterChannelzServiceToServer(s)
		reflection.Register(s)
	}, New([]*Upstream{upstream(t, serveRaw(t, echo), nil)}).ServerOptions()...))

	resp, err := healthpb.NewHealthClient(cc).Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil || resp.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", resp, err)
	}
	if _, err := channelzpb.NewChannelzClient(cc).GetServers(t.Context(), &channelzpb.GetServersRequest{}); err != nil {
		t.Errorf("channelz: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s, err := reflectionpb.NewServerReflectionClient(cc).ServerReflectionInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	if list, err := s.Recv(); err != nil || len(list.GetListServicesResponse().GetService()) != 4 {
		t.Errorf("reflection: %v, %v", list, err)
	}
	if got, err := invoke(t.Context(), cc, method, []byte("x")); string(got) != "x" || err != nil {
		t.Errorf("forwarded: %q, %v", got, err)
	}
}
