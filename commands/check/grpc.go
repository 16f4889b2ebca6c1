package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"
)

const hintNoGRPC = "the server speaks HTTP/2, but no gRPC: check what the peer connects streams to"

// health asks for the health of the whole server. One without a health service
// is as good as another; one that wants credentials for it is alive.
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

// callFailure is the failure of a call that should have gone through.
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

// isNoGRPC reports whether a status was made up by gRPC for an answer of plain
// HTTP: some of those stand for Unimplemented.
func isNoGRPC(st *status.Status) bool {
	return strings.Contains(st.Message(), "unexpected HTTP status code") || strings.Contains(st.Message(), "content-type")
}

// The two versions of reflection differ in their names alone: the messages of v1
// do for both.
var reflectionMethods = []struct{ version, method string }{
	{"v1", grpc_reflection_v1.ServerReflection_ServerReflectionInfo_FullMethodName},
	{"v1alpha", grpc_reflection_v1alpha.ServerReflection_ServerReflectionInfo_FullMethodName},
}

// reflection lists the services.
func (s *session) reflection(ctx context.Context, cc grpc.ClientConnInterface) Result {
	for _, r := range reflectionMethods {
		services, err := listServices(ctx, cc, r.method)
		st := status.Convert(err)
		switch {
		case err == nil:
			return Result{Detail: fmt.Sprintf("%s, %s", r.version, describeServices(services))}
		case st.Code() != codes.Unimplemented || isNoGRPC(st):
			return s.callFailure(ctx, Reflection, st)
		}
	}
	return Result{
		Err:  errors.New("the server has no reflection, neither v1 nor v1alpha"),
		Hint: "calls work for clients that have the descriptors; wstun serve --upstream adds reflection to a server with --proto or --protoset",
	}
}

// listServices asks for the services' names. The stream has ended when it returns.
func listServices(ctx context.Context, cc grpc.ClientConnInterface, method string) ([]string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := cc.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
	if err != nil {
		return nil, err
	}
	err = stream.SendMsg(&grpc_reflection_v1.ServerReflectionRequest{
		MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{},
	})
	if err != nil && !errors.Is(err, io.EOF) { // which stands for what RecvMsg returns
		return nil, err
	}
	var resp grpc_reflection_v1.ServerReflectionResponse
	if err := stream.RecvMsg(&resp); err != nil {
		return nil, err
	}
	if e := resp.GetErrorResponse(); e != nil {
		return nil, status.Error(codes.Code(uint32(e.GetErrorCode())), e.GetErrorMessage()) //nolint:gosec // a code is a small number
	}
	var names []string
	for _, s := range resp.GetListServicesResponse().GetService() {
		names = append(names, s.GetName())
	}
	_ = stream.CloseSend()
	_ = stream.RecvMsg(&resp) // the end
	slices.Sort(names)
	return names, nil
}

// describeServices names services, up to a few.
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
