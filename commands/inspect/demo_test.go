package inspect

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/wstun/wstun/commands/demo"
)

// TestDemoServer serves the page with traffic at the address in WSTUN_INSPECT_DEMO, until the
// test is interrupted. With WSTUN_INSPECT_PAGE, it serves the page from that directory.
func TestDemoServer(t *testing.T) {
	address := os.Getenv("WSTUN_INSPECT_DEMO")
	if address == "" {
		t.Skip("WSTUN_INSPECT_DEMO isn't set")
	}
	started := time.Now()
	received := [2]int64{}
	e := newEnv(t, 2, Options{Version: "demo", Role: "dial", Sessions: func() []Session {
		now := time.Now()
		sessions := []Session{
			{ID: 1, Remote: "wss://worker-7.example/v1/ws/sync", State: "up", Since: started.UnixMilli(), RTT: 24.3 + rand.Float64(), LeastRTT: 23.9, Streams: 1, Open: 3},
			{ID: 2, Remote: "wss://worker-9.example/v1/ws/sync", State: "up", Since: started.UnixMilli(), RTT: 31.8, LeastRTT: 30, Streams: 2, Open: 1, CertificateExpires: now.AddDate(0, 1, 0).UnixMilli()},
			{ID: 3, Remote: "wss://worker-3.example/v1/ws/sync", State: "down", Since: started.Add(-time.Hour).UnixMilli(), Ended: started.UnixMilli(), Reason: "no sign of life for 1m30s", CloseCode: 1006},
		}
		for i := range sessions[:2] {
			s := &sessions[i]
			received[i] += 40e3
			s.Bytes, s.Rate = Bytes{received[i], received[i] / 5}, Bytes{40e3 + rand.Int64N(20e3), 8e3}
			for range 60 {
				s.Rates = append(s.Rates, 20e3+rand.Int64N(20e3))
			}
		}
		return sessions
	}})
	mux := http.NewServeMux()
	mux.Handle("/api/", e)
	files := page
	if dir := os.Getenv("WSTUN_INSPECT_PAGE"); dir != "" {
		files = http.FileServer(http.Dir(dir))
	}
	mux.Handle("/", files)
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("http://%s/", l.Addr())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go e.traffic(t.Context())
	t.Fatal(server.Serve(l))
}

// traffic makes calls until ctx ends.
func (e *env) traffic(ctx context.Context) {
	watch := func(client demo.HubClient, tick time.Duration, most uint32) {
		stream, err := client.WatchKeys(ctx, &demo.WatchKeysRequest{Tick: durationpb.New(tick), MaxEvents: most})
		for err == nil {
			_, err = stream.Recv()
		}
	}
	go watch(e.clients[0], 20*time.Millisecond, 0)
	go watch(e.clients[0], time.Second, 0)
	go func() { // goes quiet after a while
		if stream, err := e.clients[1].WatchKeys(ctx, &demo.WatchKeysRequest{}); err == nil {
			for err == nil {
				_, err = stream.Recv()
			}
		}
	}()
	go func() {
		stream, err := e.clients[1].Echo(ctx)
		for i := 0; err == nil; i++ {
			if err = stream.Send(&demo.EchoRequest{Text: fmt.Sprintf("make test-%d\n", i)}); err == nil {
				_, err = stream.Recv()
			}
			pause(ctx, 500*time.Millisecond)
		}
	}()
	for i := 0; ctx.Err() == nil; i++ {
		client := e.clients[i%2]
		md := metadata.Pairs("x-request-id", fmt.Sprintf("7f3e-%05d", i), "authorization", "Bearer demo-secret")
		ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(ctx, md), 5*time.Second)
		name := fmt.Sprintf("key-%d", i)
		_, _ = client.CreateKey(ctx, &demo.CreateKeyRequest{Name: name})
		switch i % 10 {
		case 0:
			_, _ = client.DeleteKey(ctx, &demo.DeleteKeyRequest{Name: "missing"})
		case 1:
			_, _ = client.CreateKey(ctx, &demo.CreateKeyRequest{Name: "<img src=x onerror=alert(1)>\u202eevil\u2028"})
		case 2:
			_, _ = client.Sleep(ctx, &demo.SleepRequest{Duration: durationpb.New(time.Duration(rand.Int64N(int64(300 * time.Millisecond))))})
		case 3:
			short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			_, _ = client.Sleep(short, &demo.SleepRequest{Duration: durationpb.New(time.Second)})
			cancel()
		case 4:
			if i%50 == 4 {
				_, _ = client.GetTemplates(ctx, &demo.GetTemplatesRequest{})
			}
		case 5:
			if stream, err := client.Sum(ctx); err == nil {
				for n := range int64(20) {
					_ = stream.Send(&demo.SumRequest{Value: n})
				}
				_, _ = stream.CloseAndRecv()
			}
		}
		_, _ = client.DeleteKey(ctx, &demo.DeleteKeyRequest{Name: name})
		cancel()
		pause(ctx, 100*time.Millisecond)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
