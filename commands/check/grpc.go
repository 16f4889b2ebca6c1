package check

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/commands/backend"
	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/reflection"
)

const hintHTTP2Only = "the server speaks HTTP/2 but not gRPC: check the target that the peer connects streams to"

// health checks the health of the server as a whole. A server that answers, but not with
// a health status, passes with a note: it has no health service, no status for the server
// as a whole, or requires credentials.
func (s *session) health(ctx context.Context, cc grpc.ClientConnInterface) Result {
	var header metadata.MD
	resp, err := grpc_health_v1.NewHealthClient(cc).Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.Header(&header))
	st := status.Convert(err)
	switch st.Code() {
	case codes.OK:
		down := header[backend.DownKey]
		text := strings.Join(append([]string{resp.GetStatus().String()}, down...), "; ")
		if resp.GetStatus() == grpc_health_v1.HealthCheckResponse_SERVING {
			return Result{Note: len(down) > 0, Detail: text}
		}
		return Result{Err: errors.New(text), Hint: "the server runs but reports that it can't serve: see its log"}
	case codes.Unimplemented:
		if isPlainHTTP(st) {
			break
		}
		return Result{Note: true, Detail: "the server has no health service"}
	case codes.NotFound:
		return Result{Note: true, Detail: "the health service has no status for the server as a whole"}
	case codes.Unauthenticated, codes.PermissionDenied:
		return Result{Note: true, Detail: "the health service requires credentials: " + describeStatus(st)}
	}
	return s.callFailure(ctx, Health, st)
}

// callFailure is the result of a layer whose call failed with st, or sessionFailure if the
// session has ended.
func (s *session) callFailure(ctx context.Context, layer Layer, st *status.Status) Result {
	if s.ended() {
		return s.sessionFailure(layer)
	}
	r := Result{Err: st.Err(), Detail: describeStatus(st)}
	switch {
	case ctx.Err() != nil:
		r.Err = context.Cause(ctx)
		r.Detail, r.Hint = r.Err.Error(), "the server sent its SETTINGS but doesn't answer calls: see its log"
	case isPlainHTTP(st):
		r.Hint = hintHTTP2Only
	case strings.Contains(st.Message(), endpoint.ErrWantsInnerTLS.Error()):
		r.Layer, r.Hint = InnerTLS, "use --inner-tls, with --inner-cacert"
	case strings.Contains(st.Message(), "both ends of the session are gRPC clients"): // wstun dial's wording
		r.Hint = hintServe(1)
	}
	return r
}

// describeStatus formats st as its code and message.
func describeStatus(st *status.Status) string { return fmt.Sprintf("%v: %s", st.Code(), st.Message()) }

// isPlainHTTP reports whether st is that of a response without grpc-status. Its code
// depends on the HTTP status: a 404 becomes Unimplemented.
func isPlainHTTP(st *status.Status) bool { return strings.HasPrefix(st.Message(), "HTTP ") }

// reflection lists the services by the newest version of reflection that the server has.
func (s *session) reflection(ctx context.Context, cc grpc.ClientConnInterface) Result {
	version, services, err := reflection.FromServer(cc, nil).List(ctx)
	switch {
	case err == nil:
		return Result{Detail: fmt.Sprintf("%s, %s", version, describeServices(services))}
	case errors.Is(err, reflection.ErrNoReflection):
		return Result{
			Err:  errors.New("the server has no reflection, neither v1 nor v1alpha"),
			Hint: "calls work for clients that have the descriptors; wstun serve --upstream adds reflection to a server with --proto or --protoset",
		}
	}
	st := status.Convert(err)
	if inner, ok := errors.AsType[interface {
		error
		GRPCStatus() *status.Status
	}](err); ok {
		st = inner.GRPCStatus() // without the prefix of package reflection
	}
	return s.callFailure(ctx, Reflection, st)
}

// describeServices returns the number of services and the names of the first few.
func describeServices(names []string) string {
	const most = 8
	switch n := len(names); {
	case n == 0:
		return "no services"
	case n == 1:
		return "1 service: " + names[0]
	case n > most:
		return fmt.Sprintf("%d services: %s, …", n, strings.Join(names[:most], ", "))
	default:
		return fmt.Sprintf("%d services: %s", n, strings.Join(names, ", "))
	}
}
