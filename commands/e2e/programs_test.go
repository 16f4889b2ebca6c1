//go:build unix

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	reflectionv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/tunnel/tunneltest"
)

// The programs that scripts start beside wstun. Those that listen print their address first.

// webpage is an HTTP server without WebSockets. With an argument, it answers with status
// code 429, and with the argument as Retry-After.
func webpage() {
	l := mustListen()
	_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Server", "pages/1.0")
		if len(os.Args) > 1 {
			w.Header().Set("Retry-After", os.Args[1])
			w.WriteHeader(http.StatusTooManyRequests)
		}
		fmt.Fprintln(w, "<h1>Welcome</h1>")
	}))
}

// hangup accepts WebSockets and closes each at once.
func hangup() {
	l := mustListen()
	_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := new(websocket.Upgrader).Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer ws.Close()
		_ = ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseInternalServerErr, "busy"), time.Time{})
		_, _, _ = ws.ReadMessage() // until the other side has closed it
	}))
}

// oddserver sends responses that aren't quite gRPC's.
func oddserver() { tunneltest.ServeOdd(mustListen()) }

func mustListen() net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	return l
}

// tcpRelay is a TCP relay to the address in a file, which it reads for each
// connection, so that a server can be replaced by one on another port. While
// the file is empty it closes connections at once. Stopped with SIGSTOP, it
// passes nothing on and answers nothing.
func tcpRelay() {
	l := mustListen()
	for {
		conn, err := l.Accept()
		if err != nil {
			panic(err)
		}
		go func() {
			defer conn.Close()
			addr, err := os.ReadFile(os.Args[1])
			if err != nil {
				return
			}
			network, address := "tcp", strings.TrimSpace(string(addr))
			if path, ok := strings.CutPrefix(address, "unix:"); ok {
				network, address = "unix", path
			}
			target, err := net.Dial(network, address)
			if err != nil {
				return
			}
			copyBoth(conn, target)
		}()
	}
}

// copyBoth copies between a and b in both directions until either is closed,
// and closes both.
func copyBoth(a, b net.Conn) {
	var wg sync.WaitGroup
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		wg.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			pair[0].Close()
			pair[1].Close()
		})
	}
	wg.Wait()
}

// proxy is an HTTP proxy for CONNECT alone and for one user:password, its first argument.
// With more arguments, it offers these authentication schemes and accepts no Basic. It
// connects to the unix socket in the variable NAMES for any name of a host.
func proxy() {
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(os.Args[1]))
	l := mustListen()
	_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if schemes := os.Args[2:]; r.Header.Get("Proxy-Authorization") != want || len(schemes) > 0 {
			w.Header()["Proxy-Authenticate"] = schemes
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		fmt.Println(r.Method, r.Host)
		network, addr := "tcp", r.Host
		if _, err := netip.ParseAddrPort(addr); err != nil { // a name, which isn't looked up
			network, addr = "unix", os.Getenv("NAMES")
		}
		target, err := net.Dial(network, addr)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer target.Close()
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		copyBoth(conn, target)
	}))
}

// grpcserver serves the demo Hub on plain gRPC. Its first argument says which
// reflection it has: v1, v1alpha, guarded (v1 for calls with a header), none, or
// sick (v1, and a health service that reports the Hub as not serving). Without
// more arguments it listens on a port, with unix:PATH on a socket, and with CERT
// KEY CACERT on a port with TLS for clients with certificates. It prints the
// method and some metadata of each call.
func grpcserver() {
	var l net.Listener
	var opts []grpc.ServerOption
	switch args := os.Args[2:]; len(args) {
	case 0:
		l = mustListen()
	case 1:
		var err error
		if l, err = net.Listen("unix", strings.TrimPrefix(args[0], "unix:")); err != nil {
			panic(err)
		}
		fmt.Println("listening")
	default:
		cert, err := tls.LoadX509KeyPair(args[0], args[1])
		if err != nil {
			panic(err)
		}
		pem, err := os.ReadFile(args[2])
		if err != nil {
			panic(err)
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		opts = append(opts, grpc.Creds(credentials.NewTLS(&tls.Config{
			Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		})))
		l = mustListen()
	}
	printCall := func(ctx context.Context, method string) {
		md, _ := metadata.FromIncomingContext(ctx)
		fmt.Println(method, md[":authority"], md["x-reflect"], md["x-call"], md["user-agent"])
	}
	opts = append(opts,
		grpc.UnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			printCall(ctx, info.FullMethod)
			return handler(ctx, req)
		}),
		grpc.StreamInterceptor(func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			printCall(ss.Context(), info.FullMethod)
			md, _ := metadata.FromIncomingContext(ss.Context())
			if os.Args[1] == "guarded" && strings.Contains(info.FullMethod, "ServerReflection") && md["x-reflect"] == nil {
				return status.Error(codes.Unauthenticated, "no x-reflect")
			}
			return handler(srv, ss)
		}))
	s := grpc.NewServer(opts...)
	demo.New().Register(s)
	switch os.Args[1] {
	case "sick":
		h := health.NewServer()
		h.SetServingStatus(demo.Hub_ServiceDesc.ServiceName, grpc_health_v1.HealthCheckResponse_NOT_SERVING)
		grpc_health_v1.RegisterHealthServer(s, h)
		reflection.RegisterV1(s)
	case "v1", "guarded":
		reflection.RegisterV1(s)
	case "v1alpha":
		reflectionv1alpha.RegisterServerReflectionServer(s, reflection.NewServer(reflection.ServerOptions{Services: s}))
	}
	panic(s.Serve(l))
}

// load calls the demo Hub from many goroutines until SIGTERM, then prints
// whether calls succeeded, whether calls failed, and the longest call's time.
// It prints each new failure's text, and the first success after a failure.
func load() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	cc, err := grpc.NewClient("passthrough:///"+os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second})) // no backoff: a failure shows in each call
	if err != nil {
		panic(err)
	}
	hub := demo.NewHubClient(cc)
	var (
		mu        sync.Mutex
		wg        sync.WaitGroup
		good, bad int
		slowest   time.Duration
		failures  = map[string]bool{}
		once      sync.Once
		recovered sync.Once
	)
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				started := time.Now()
				_, err := hub.DeleteKey(context.WithoutCancel(ctx), &demo.DeleteKeyRequest{Name: "none"})
				mu.Lock()
				slowest = max(slowest, time.Since(started))
				if status.Code(err) == codes.NotFound { // the answer of a Hub without that key
					good++
					once.Do(func() { fmt.Println("loading") })
					if bad > 0 {
						recovered.Do(func() { fmt.Println("recovered") })
					}
				} else {
					bad++
					if text := err.Error(); !failures[text] {
						failures[text] = true
						fmt.Println("failure:", text)
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	fmt.Printf("good %t\nbad %t\nslowest under %ds\n%d calls\n", good > 0, bad > 0, int(slowest.Seconds())+1, good+bad)
	if err := cc.Close(); err != nil && !errors.Is(err, context.Canceled) {
		panic(err)
	}
}
