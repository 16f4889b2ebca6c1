//go:build unix

package e2e

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/wstun/wstun/commands/demo"
)

// hubClient has a method for each of hubCases.
type hubClient struct{ demo.HubClient }

// goHubClient runs cases of hubCases at addr as the clients in testdata/interop do.
func goHubClient(t *testing.T, addr string, cases []string) {
	t.Helper()
	const limit = 64 << 20
	cc, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(limit), grpc.MaxCallSendMsgSize(limit)))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	c := hubClient{demo.NewHubClient(cc)}
	tests := map[string]func(context.Context, *testing.T){
		"unary": c.unary, "details": c.details, "client_stream": c.clientStream, "server_stream": c.serverStream,
		"bidi_stream": c.bidiStream, "early_end": c.earlyEnd, "large": c.large, "deadline": c.deadline,
		"cancel": c.cancel, "gzip": c.gzip, "metadata": c.metadata,
	}
	for _, name := range cases {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), outputWait)
			defer cancel()
			tests[name](ctx, t)
		})
	}
}

func (c hubClient) unary(ctx context.Context, t *testing.T) {
	t.Helper()
	name := rand.Text()
	key, err := c.CreateKey(ctx, &demo.CreateKeyRequest{Name: name})
	if err != nil || key.Name != name || len(key.Secret) != 32 {
		t.Errorf("CreateKey = %v, %v", key, err)
	}
	if _, err := c.DeleteKey(ctx, &demo.DeleteKeyRequest{Name: name}); err != nil {
		t.Error(err)
	}
}

func (c hubClient) details(ctx context.Context, t *testing.T) {
	t.Helper()
	name := "schlüssel " + rand.Text()
	_, err := c.DeleteKey(ctx, &demo.DeleteKeyRequest{Name: name})
	wantCode(t, err, codes.NotFound)
	details := status.Convert(err).Details()
	if len(details) != 1 {
		t.Fatalf("details %v, want one", details)
	}
	if info, ok := details[0].(*errdetails.ResourceInfo); !ok || info.ResourceName != name {
		t.Errorf("details %v, want those of %q", details, name)
	}
}

func (c hubClient) clientStream(ctx context.Context, t *testing.T) {
	t.Helper()
	stream, err := c.Sum(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for n := range int64(1000) {
		if err := stream.Send(&demo.SumRequest{Value: n + 1}); err != nil {
			t.Fatal(err)
		}
	}
	if sum, err := stream.CloseAndRecv(); err != nil || sum.Sum != 500500 || sum.Count != 1000 {
		t.Errorf("Sum = %v, %v", sum, err)
	}
}

func (c hubClient) serverStream(ctx context.Context, t *testing.T) {
	t.Helper()
	stream, err := c.WatchKeys(ctx, &demo.WatchKeysRequest{MaxEvents: 3, Tick: durationpb.New(10 * time.Millisecond)})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 4 {
		event, err := stream.Recv()
		if err != nil || (n == 0) != (event.GetSnapshot() != nil) || (n > 0) != (event.GetTick() != nil) {
			t.Fatalf("event %d: %v, %v", n, event, err)
		}
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last event: %v", err)
	}
}

// echo opens an Echo.
func (c hubClient) echo(ctx context.Context, t *testing.T, opts ...grpc.CallOption) (demo.Hub_EchoClient, func(text string, end bool) *demo.EchoResponse) {
	t.Helper()
	stream, err := c.Echo(ctx, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return stream, func(text string, end bool) *demo.EchoResponse {
		t.Helper()
		if err := stream.Send(&demo.EchoRequest{Text: text, End: end}); err != nil {
			t.Fatal(err)
		}
		resp, err := stream.Recv()
		if err != nil || resp.Text != text {
			t.Fatalf("%d bytes back, want %d; %v", len(resp.GetText()), len(text), err)
		}
		return resp
	}
}

// finish ends an Echo.
func finish(t *testing.T, stream demo.Hub_EchoClient) {
	t.Helper()
	if err := stream.CloseSend(); err != nil {
		t.Error(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}

func (c hubClient) bidiStream(ctx context.Context, t *testing.T) {
	t.Helper()
	stream, send := c.echo(ctx, t)
	for n := range uint32(100) {
		if resp := send("✓", false); resp.Count != n+1 {
			t.Errorf("count %d, want %d", resp.Count, n+1)
		}
	}
	finish(t, stream)
}

// earlyEnd has the server end a call although the client's side is still open.
func (c hubClient) earlyEnd(ctx context.Context, t *testing.T) {
	t.Helper()
	stream, send := c.echo(ctx, t)
	send("on", false)
	send("off", true)
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}

func (c hubClient) large(ctx context.Context, t *testing.T) {
	t.Helper()
	stream, send := c.echo(ctx, t)
	send(strings.Repeat("0123456789abcdef", 20<<20/16), false)
	finish(t, stream)
}

func (c hubClient) deadline(ctx context.Context, t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second) // enough for the call to reach the server
	defer cancel()
	_, err := c.Sleep(ctx, &demo.SleepRequest{Duration: durationpb.New(30 * time.Second)})
	wantCode(t, err, codes.DeadlineExceeded)
}

func (c hubClient) cancel(ctx context.Context, t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.WatchKeys(ctx, &demo.WatchKeysRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	cancel()
	_, err = stream.Recv()
	wantCode(t, err, codes.Canceled)
}

func (c hubClient) gzip(ctx context.Context, t *testing.T) {
	t.Helper()
	stream, send := c.echo(ctx, t, grpc.UseCompressor(gzip.Name))
	send(strings.Repeat("small when compressed ", 1000), false)
	finish(t, stream)
}

// metadata requires x-echo and x-echo-bin back as header and as trailer, as the
// servers in testdata/interop do.
func (c hubClient) metadata(ctx context.Context, t *testing.T) {
	t.Helper()
	const bin = "\x00\x01\xfe\xff"
	stream, send := c.echo(metadata.AppendToOutgoingContext(ctx, "x-echo", "one", "x-echo", "two", "x-echo-bin", bin), t)
	send("hello", false)
	finish(t, stream)
	header, err := stream.Header()
	if err != nil {
		t.Fatal(err)
	}
	for _, md := range []metadata.MD{header, stream.Trailer()} {
		if got := strings.Join(md["x-echo"], ", "); got != "one, two" {
			t.Errorf("x-echo: %q in %v", got, md)
		}
		if got := strings.Join(md["x-echo-bin"], ", "); got != bin {
			t.Errorf("x-echo-bin: %q in %v", got, md)
		}
	}
}

func wantCode(t *testing.T, err error, want codes.Code) {
	t.Helper()
	if status.Code(err) != want {
		t.Errorf("%v, want %v", err, want)
	}
}
