package proxy

import (
	"context"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/interop"
	testpb "google.golang.org/grpc/interop/grpc_testing"
)

// TestInterop runs gRPC's interoperability test cases.
func TestInterop(t *testing.T) {
	t.Parallel()
	tests := map[string]func(context.Context, testpb.TestServiceClient){
		"empty_unary":         func(ctx context.Context, c testpb.TestServiceClient) { interop.DoEmptyUnaryCall(ctx, c) },
		"large_unary":         func(ctx context.Context, c testpb.TestServiceClient) { interop.DoLargeUnaryCall(ctx, c) },
		"client_streaming":    func(ctx context.Context, c testpb.TestServiceClient) { interop.DoClientStreaming(ctx, c) },
		"server_streaming":    func(ctx context.Context, c testpb.TestServiceClient) { interop.DoServerStreaming(ctx, c) },
		"ping_pong":           func(ctx context.Context, c testpb.TestServiceClient) { interop.DoPingPong(ctx, c) },
		"empty_stream":        func(ctx context.Context, c testpb.TestServiceClient) { interop.DoEmptyStream(ctx, c) },
		"timeout_on_sleeping": func(ctx context.Context, c testpb.TestServiceClient) { interop.DoTimeoutOnSleepingServer(ctx, c) },
		"cancel_after_begin":  func(ctx context.Context, c testpb.TestServiceClient) { interop.DoCancelAfterBegin(ctx, c) },
		"cancel_after_first":  func(ctx context.Context, c testpb.TestServiceClient) { interop.DoCancelAfterFirstResponse(ctx, c) },
		"custom_metadata":     func(ctx context.Context, c testpb.TestServiceClient) { interop.DoCustomMetadata(ctx, c) },
		"status_code":         func(ctx context.Context, c testpb.TestServiceClient) { interop.DoStatusCodeAndMessage(ctx, c) },
		"special_status":      func(ctx context.Context, c testpb.TestServiceClient) { interop.DoSpecialStatusMessage(ctx, c) },
	}
	cc := proxyClient(t, serve(t, func(s *grpc.Server) { testpb.RegisterTestServiceServer(s, interop.NewTestServer()) }))
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t.Context(), testpb.NewTestServiceClient(cc))
		})
	}
}
