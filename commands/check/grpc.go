package check

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/reflection"
)

const hintNoGRPC = "the server speaks HTTP/2, but no gRPC: check what the peer connects streams to"

// health asks for the health of the whole server. A server without a health service
// passes, and so does one that wants credentials for it: it's alive.
func (s *session) health(ctx context.Context, cc grpc.ClientConnInterface) Result {
	resp, err := grpc_health_v1.NewHealthClient(cc).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	st := status.Convert(err)
	switch st.Code() {
	case codes.OK:
		if resp.GetStatus() == grpc_health_v1.HealthCheckResponse_SERVING {
			return Result{Detail: resp.GetStatus().String()}
		}
		return Result{Err: errors.New(resp.GetStatus().String()), Hint: "the server is there and says that it can't serve: see its own log"}
	case codes.Unimplemented:
		if isNoGRPC(st) {
			break
		}
		return Result{Note: true, Detail: "the server has no health service"}
	case codes.NotFound:
		return Result{Note: true, Detail: "the server's health service knows nothing of the server as a whole"}
	case codes.Unauthenticated, codes.PermissionDenied:
		return Result{Note: true, Detail: "the server wants credentials for its health: " + describe(st)}
	}
	return s.callFailure(ctx, Health, st)
}

// callFailure returns the Result of a layer whose call has failed with st.
func (s *session) callFailure(ctx context.Context, layer Layer, st *status.Status) Result {
	if s.over() {
		return s.end(layer)
	}
	r := Result{Err: st.Err(), Detail: describe(st)}
	switch {
	case ctx.Err() != nil:
		r.Err = context.Cause(ctx)
		r.Detail, r.Hint = r.Err.Error(), "the server has sent its SETTINGS, and doesn't answer calls: see its own log"
	case isNoGRPC(st):
		r.Hint = hintNoGRPC
	case strings.Contains(st.Message(), "both ends of the session are gRPC clients"): // as wstun dial puts it
		r.Hint = hintServe(1)
	}
	return r
}

func describe(st *status.Status) string { return fmt.Sprintf("%v: %s", st.Code(), st.Message()) }

// isNoGRPC reports whether gRPC made st from a plain HTTP answer, which may become
// Unimplemented too.
func isNoGRPC(st *status.Status) bool {
	return strings.Contains(st.Message(), "unexpected HTTP status code") || strings.Contains(st.Message(), "content-type")
}

// reflection lists the services.
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
		st = inner.GRPCStatus() // without what reflection writes before its message
	}
	return s.callFailure(ctx, Reflection, st)
}

// describeServices counts services, and names the first few.
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
