package demo_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/wstun/wstun/commands/demo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves a new Hub in memory and connects to it, until the test ends.
func start(t *testing.T, opts ...grpc.DialOption) (*demo.Hub, *grpc.Server, demo.HubClient) {
	t.Helper()
	hub, server, listener := demo.New(), grpc.NewServer(), bufconn.Listen(64<<10)
	hub.Register(server)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(listener); err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	t.Cleanup(serving.Wait)
	t.Cleanup(server.Stop)

	opts = append(opts,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return listener.DialContext(ctx)
		}))
	conn, err := grpc.NewClient("passthrough:///hub", opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return hub, server, demo.NewHubClient(conn)
}

// wantError checks err's code and message, and its one detail unless detail is nil.
func wantError(t *testing.T, err error, code codes.Code, message string, detail proto.Message) {
	t.Helper()
	s := status.Convert(err)
	if s.Code() != code || s.Message() != message {
		t.Errorf("error = %v %q, want %v %q", s.Code(), s.Message(), code, message)
	}
	switch got := s.Details(); {
	case detail == nil && len(got) == 0:
	case detail != nil && len(got) == 1 && proto.Equal(got[0].(proto.Message), detail):
	default:
		t.Errorf("details = %v, want %v", got, detail)
	}
}

// create creates keys by calling the Hub directly.
func create(t *testing.T, hub *demo.Hub, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := hub.CreateKey(t.Context(), &demo.CreateKeyRequest{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
}

// watch starts a Watch and returns it with the names in its snapshot.
func watch(t *testing.T, client demo.HubClient, req *demo.WatchKeysRequest) (grpc.ServerStreamingClient[demo.KeyEvent], []string) {
	t.Helper()
	stream, err := client.WatchKeys(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	event := recv(t, stream)
	if event.GetSnapshot() == nil {
		t.Fatalf("first event = %v, want a snapshot", event)
	}
	var names []string
	for _, key := range event.GetSnapshot().Keys {
		if key.Secret != "" || key.CreateTime == nil {
			t.Errorf("key in a snapshot = %v, want a time and no secret", key)
		}
		names = append(names, key.Name)
	}
	return stream, names
}

// recv receives a message.
func recv[M any](t *testing.T, stream interface{ Recv() (*M, error) }) *M {
	t.Helper()
	m, err := stream.Recv()
	if err != nil {
		t.Fatalf("Recv = %v", err)
	}
	return m
}

// brief formats an event as one word. A secret, which no event may have, shows in it.
func brief(event *demo.KeyEvent) string {
	switch e := event.Event.(type) {
	case *demo.KeyEvent_Created:
		return "+" + e.Created.Name + e.Created.Secret
	case *demo.KeyEvent_Deleted:
		return "-" + e.Deleted
	case *demo.KeyEvent_Tick:
		return "tick"
	}
	return event.String()
}

func TestKeys(t *testing.T) {
	t.Parallel()
	_, _, client := start(t)

	secrets := make(map[string]bool)
	for _, name := range []string{"a", "snö", strings.Repeat("n", 128)} {
		key, err := client.CreateKey(t.Context(), &demo.CreateKeyRequest{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		if key.Name != name || !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(key.Secret) || secrets[key.Secret] ||
			time.Since(key.CreateTime.AsTime()).Abs() > time.Hour {
			t.Errorf("CreateKey(%q) = %v", name, key)
		}
		secrets[key.Secret] = true
	}
	if _, err := client.DeleteKey(t.Context(), &demo.DeleteKeyRequest{Name: "snö"}); err != nil {
		t.Errorf("DeleteKey = %v", err)
	}
	if _, err := client.CreateKey(t.Context(), &demo.CreateKeyRequest{Name: "snö"}); err != nil {
		t.Errorf("CreateKey after DeleteKey = %v", err)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	hub, _, client := start(t)
	create(t, hub, "there")
	for _, test := range []struct {
		req           proto.Message
		code          codes.Code
		subject, text string
	}{
		{&demo.CreateKeyRequest{}, codes.InvalidArgument, "name", "must be 1 to 128 bytes long, not 0"},
		{&demo.CreateKeyRequest{Name: strings.Repeat("n", 129)}, codes.InvalidArgument, "name", "must be 1 to 128 bytes long, not 129"},
		{&demo.CreateKeyRequest{Name: "there"}, codes.AlreadyExists, "there", "already exists"},
		{&demo.DeleteKeyRequest{}, codes.InvalidArgument, "name", "must be 1 to 128 bytes long, not 0"},
		{&demo.DeleteKeyRequest{Name: strings.Repeat("n", 1<<20)}, codes.InvalidArgument, "name", "must be 1 to 128 bytes long, not 1048576"},
		{&demo.DeleteKeyRequest{Name: "gone"}, codes.NotFound, "gone", "does not exist"},
		{&demo.WatchKeysRequest{Tick: &durationpb.Duration{}}, codes.InvalidArgument, "tick", "must be at least 1ms, not 0s"},
		{&demo.WatchKeysRequest{Tick: durationpb.New(999_999)}, codes.InvalidArgument, "tick", "must be at least 1ms, not 999.999µs"},
		{&demo.WatchKeysRequest{Tick: durationpb.New(-time.Second)}, codes.InvalidArgument, "tick", "must be at least 1ms, not -1s"},
		{&demo.SleepRequest{Duration: durationpb.New(-1)}, codes.InvalidArgument, "duration", "must be 0s to 1m0s, not -1ns"},
		{&demo.SleepRequest{Duration: durationpb.New(time.Minute + 1)}, codes.InvalidArgument, "duration", "must be 0s to 1m0s, not 1m0.000000001s"},
		{&demo.SleepRequest{Duration: &durationpb.Duration{Seconds: math.MaxInt64}}, codes.InvalidArgument, "duration", "must be 0s to 1m0s, not 2562047h47m16.854775807s"},
	} {
		var err error
		switch req := test.req.(type) {
		case *demo.CreateKeyRequest:
			_, err = client.CreateKey(t.Context(), req)
		case *demo.DeleteKeyRequest:
			_, err = client.DeleteKey(t.Context(), req)
		case *demo.SleepRequest:
			_, err = client.Sleep(t.Context(), req)
		case *demo.WatchKeysRequest:
			var stream grpc.ServerStreamingClient[demo.KeyEvent]
			if stream, err = client.WatchKeys(t.Context(), req); err == nil {
				_, err = stream.Recv()
			}
		}
		if test.code == codes.InvalidArgument {
			violation := &errdetails.BadRequest_FieldViolation{Field: test.subject, Description: test.text}
			wantError(t, err, test.code, test.subject+" "+test.text,
				&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{violation}})
			continue
		}
		wantError(t, err, test.code, fmt.Sprintf("key %q %s", test.subject, test.text),
			&errdetails.ResourceInfo{ResourceType: "key", ResourceName: test.subject, Description: test.text})
	}
}

func TestManyKeys(t *testing.T) {
	t.Parallel()
	hub, _, client := start(t)
	var names []string
	for i := range 10_000 {
		names = append(names, fmt.Sprintf("%0128d", i))
	}
	create(t, hub, names...)
	_, err := client.CreateKey(t.Context(), &demo.CreateKeyRequest{Name: "one more"})
	wantError(t, err, codes.ResourceExhausted, "there are 10000 keys already", nil)
	// The client accepts 4 MiB.
	if _, got := watch(t, client, &demo.WatchKeysRequest{}); !slices.Equal(got, names) {
		t.Errorf("a snapshot of all keys has %d, or is out of order", len(got))
	}
}

func TestGetTemplates(t *testing.T) {
	t.Parallel()
	_, _, client := start(t)
	if _, err := client.GetTemplates(t.Context(), &demo.GetTemplatesRequest{}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("with the default limit: %v, want ResourceExhausted", err)
	}
	got, err := client.GetTemplates(t.Context(), &demo.GetTemplatesRequest{}, grpc.MaxCallRecvMsgSize(64<<20))
	if err != nil {
		t.Fatal(err)
	}
	if size := proto.Size(got); size < 5<<20 || size > 6<<20 {
		t.Errorf("size = %d, want about 5 MiB", size)
	}
	if want, _ := demo.New().GetTemplates(t.Context(), nil); !proto.Equal(got, want) {
		t.Error("two Hubs have different templates")
	}
}

func TestEcho(t *testing.T) {
	t.Parallel()
	_, _, client := start(t)
	for _, end := range []bool{false, true} {
		t.Run(fmt.Sprintf("end=%v", end), func(t *testing.T) {
			t.Parallel()
			stream, err := client.Echo(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for i, text := range []string{"a", "", "c"} {
				if err := stream.Send(&demo.EchoRequest{Text: text, End: end && i == 2}); err != nil {
					t.Fatal(err)
				}
				if got := recv(t, stream); got.Text != text || int(got.Count) != i+1 {
					t.Errorf("Echo(%q) = %v, want it with count %d", text, got, i+1)
				}
			}
			if !end {
				stream.CloseSend()
			}
			if got, err := stream.Recv(); !errors.Is(err, io.EOF) {
				t.Errorf("at the end Recv = %v, %v, want EOF", got, err)
			}
		})
	}
}

func TestSum(t *testing.T) {
	t.Parallel()
	_, _, client := start(t)
	for _, test := range []struct {
		values []int64
		want   int64
	}{
		{nil, 0},
		{[]int64{1, -5, 46}, 42},
		{[]int64{math.MaxInt64, 1}, math.MinInt64},
	} {
		stream, err := client.Sum(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range test.values {
			if err := stream.Send(&demo.SumRequest{Value: v}); err != nil {
				t.Fatal(err)
			}
		}
		got, err := stream.CloseAndRecv()
		if err != nil || got.Sum != test.want || int(got.Count) != len(test.values) {
			t.Errorf("Sum(%v) = %v, %v, want %d", test.values, got, err, test.want)
		}
	}
}

// TestSleep calls the method directly, in the fake time of synctest. In each case
// the Hub is closed during the call, which must make no difference.
func TestSleep(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name                    string
		duration, timeout, want time.Duration
		code                    codes.Code
	}{
		{"nothing", 0, time.Hour, 0, codes.OK},
		{"a minute", time.Minute, time.Hour, time.Minute, codes.OK},
		{"deadline", time.Minute, time.Second, time.Second, codes.DeadlineExceeded},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				hub, began := demo.New(), time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), test.timeout)
				defer cancel()
				var sleeping sync.WaitGroup
				sleeping.Go(func() {
					_, err := hub.Sleep(ctx, &demo.SleepRequest{Duration: durationpb.New(test.duration)})
					if took := time.Since(began); status.Code(err) != test.code || took != test.want {
						t.Errorf("Sleep = %v after %v, want %v after %v", err, took, test.code, test.want)
					}
				})
				synctest.Wait()
				hub.Close()
				sleeping.Wait()
			})
		})
	}
}
