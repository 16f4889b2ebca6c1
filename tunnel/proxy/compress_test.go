package proxy

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/stats"
)

// encodings is a stats handler that sends the grpc-encoding of each received header to
// the channel.
type encodings chan string

func (encodings) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (encodings) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (encodings) HandleConn(context.Context, stats.ConnStats)                       {}
func (e encodings) HandleRPC(_ context.Context, s stats.RPCStats) {
	if h, ok := s.(*stats.InHeader); ok {
		e <- h.Compression
	}
}

func TestCompression(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name              string
		caller, upstream  string // encodings that they send
		request, response string // encodings that the upstream and the caller receive
	}{
		{"neither", "", "", "", ""},
		{"caller", gzip.Name, "", gzip.Name, gzip.Name}, // grpc-go uses the encoding of the request
		{"caller, not upstream", gzip.Name, "identity", gzip.Name, gzip.Name},
		{"upstream", "", gzip.Name, "", ""},
	}
	big := strings.Repeat("compressible ", 10_000)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			requests, responses := make(encodings, 1), make(encodings, 1)
			addr := serveRaw(t, func(s grpc.ServerStream) error {
				if tt.upstream != "" {
					if err := grpc.SetSendCompressor(s.Context(), tt.upstream); err != nil {
						return err
					}
				}
				return echo(s)
			}, grpc.StatsHandler(requests))
			cc := client(t, serve(t, nil, New([]*Upstream{upstream(t, addr, nil)}).ServerOptions()...), grpc.WithStatsHandler(responses))
			var opts []grpc.CallOption
			if tt.caller != "" {
				opts = append(opts, grpc.UseCompressor(tt.caller))
			}
			got, err := invoke(t.Context(), cc, method, []byte(big), opts...)
			if string(got) != big || err != nil {
				t.Errorf("received %d bytes, %v", len(got), err)
			}
			if got := wait(t, requests, "request"); got != tt.request {
				t.Errorf("the encoding of the request is %q, want %q", got, tt.request)
			}
			if got := wait(t, responses, "response"); got != tt.response {
				t.Errorf("the encoding of the response is %q, want %q", got, tt.response)
			}
		})
	}
}
