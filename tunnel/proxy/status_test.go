package proxy

import (
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// TestStatus expects every status unchanged, with and without a message before it.
func TestStatus(t *testing.T) {
	t.Parallel()
	detailed, err := status.New(codes.InvalidArgument, "with details").WithDetails(
		&errdetails.ErrorInfo{Reason: "R", Domain: "d", Metadata: map[string]string{"k": "v"}},
		&errdetails.RetryInfo{},
	)
	if err != nil {
		t.Fatal(err)
	}
	tests := []*status.Status{
		detailed,
		status.New(codes.Unknown, ""),
		status.New(codes.Aborted, "100% <ü\n\t日本> %zz\x7f"),
		status.New(codes.Unavailable, `connection error: desc = "error reading from server: EOF"`), // about a connection of the upstream
		status.New(codes.Canceled, closing),
		status.New(17, "beyond the last"),
		status.New(4711, "far beyond"),
		status.New(1<<31-1, "the largest"),
	}
	for c := codes.Canceled; c <= codes.Unauthenticated; c++ {
		tests = append(tests, status.New(c, "code "+c.String()))
	}
	for _, want := range tests {
		for _, messages := range []int{0, 1} {
			cc := proxyClient(t, serveRaw(t, func(s grpc.ServerStream) error {
				for range messages {
					if err := s.SendMsg(newRawMessage(nil)); err != nil {
						return err
					}
				}
				s.SetTrailer(metadata.Pairs("key", "value"))
				return want.Err()
			}))
			s := open(t.Context(), t, cc, method)
			var err error
			for range messages + 1 {
				_, err = receive(s)
			}
			if got := status.Convert(err); !proto.Equal(got.Proto(), want.Proto()) {
				t.Errorf("after %d messages: got %v, want %v", messages, got.Proto(), want.Proto())
			}
			if got := s.Trailer()["key"]; len(got) != 1 || got[0] != "value" {
				t.Errorf("trailer %q", got)
			}
		}
	}
}
