package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/outbound"
	"github.com/wstun/wstun/tunnel/wsmux"
)

func port(t *testing.T, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestSuccess(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	ok := ca.certificate(t, time.Now().AddDate(0, 2, 0))
	soon := ca.certificate(t, time.Now().AddDate(0, 0, 2))
	aboveTLS := []Layer{WebSocket, Ping, Yamux, HTTP2, Health, Reflection}
	for _, test := range []struct {
		name   string
		url    string // without the port
		cert   *tls.Certificate
		proxy  bool
		opts   Options
		layers []Layer
		detail map[Layer]string
		note   Layer
	}{
		{
			name: "ws", url: "ws://127.0.0.1", layers: []Layer{TCP},
			detail: map[Layer]string{
				WebSocket: "101 Switching Protocols", Yamux: "this side is the client, Ping", HTTP2: "SETTINGS",
				Health: "SERVING", Reflection: "v1, 3 services: grpc.health.v1.Health, grpc.reflection.v1.ServerReflection, ",
			},
		},
		{name: "name", url: "ws://worker.test", layers: []Layer{DNS, TCP}, detail: map[Layer]string{DNS: "worker.test is 127.0.0.1", TCP: "127.0.0.1:"}},
		{name: "wss", url: "wss://worker.test", cert: &ok, layers: []Layer{DNS, TCP, TLS}, detail: map[Layer]string{TLS: "TLS 1.3, worker.test, issued by Test CA, "}},
		{name: "https", url: "https://127.0.0.1", cert: &ok, layers: []Layer{TCP, TLS}},
		{name: "expires soon", url: "wss://127.0.0.1", cert: &soon, layers: []Layer{TCP, TLS}, detail: map[Layer]string{TLS: "1 day left"}, note: TLS},
		{
			name: "unverified", url: "wss://127.0.0.1", cert: &ok, layers: []Layer{TCP, TLS}, detail: map[Layer]string{TLS: "not verified"},
			opts: Options{Dial: tunnel.DialOptions{TLS: &tls.Config{InsecureSkipVerify: true}}},
		},
		{name: "proxy", url: "ws://127.0.0.1", proxy: true, layers: []Layer{TCP, Proxy}, detail: map[Layer]string{TCP: ", the proxy", Proxy: " has connected to 127.0.0.1:"}},
		{name: "proxy and wss", url: "wss://127.0.0.1", proxy: true, cert: &ok, layers: []Layer{TCP, Proxy, TLS}},
		{
			name: "subprotocol", url: "ws://127.0.0.1", layers: []Layer{TCP}, detail: map[Layer]string{WebSocket: "subprotocol tunnel"},
			opts: Options{Dial: tunnel.DialOptions{Subprotocols: []string{"tunnel"}}},
		},
		{name: "no time limit", url: "ws://127.0.0.1", layers: []Layer{TCP}, opts: Options{Dial: tunnel.DialOptions{ConnectTimeout: -1}}},
		{name: "server role", url: "ws://127.0.0.1", layers: []Layer{TCP}, detail: map[Layer]string{Yamux: "this side is the server"}, opts: Options{Role: wsmux.Server}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var config *tls.Config
			if test.cert != nil {
				config = &tls.Config{Certificates: []tls.Certificate{*test.cert}}
			}
			opts := test.opts
			if opts.Dial.TLS == nil {
				opts.Dial.TLS = &tls.Config{RootCAs: ca.pool}
			}
			if opts.Dial.ConnectTimeout == 0 {
				opts.Dial.ConnectTimeout = longTimeout
			}
			if test.proxy {
				opts.Dial.Proxy = "http://" + httpProxy(t, "200 OK")
			}
			results := run(t, test.url+":"+port(t, accept(t, config, serveGRPC(registerAll))), &opts)
			if want := slices.Concat(test.layers, aboveTLS); !slices.Equal(layers(results), want) {
				t.Fatalf("probed %v, want %v: %+v", layers(results), want, results)
			}
			for _, r := range results {
				if r.Err != nil || !strings.Contains(r.Detail, test.detail[r.Layer]) || r.Detail == "" {
					t.Errorf("%+v, want %q", r, test.detail[r.Layer])
				}
				if r.Note != (r.Layer == test.note) || r.Note != (r.Hint != "") {
					t.Errorf("%+v, want a note: %v", r, r.Layer == test.note)
				}
			}
		})
	}
}

func TestNoHealthService(t *testing.T) {
	t.Parallel()
	results := run(t, upgraded(serveGRPC(reflectionOnly))(t), &Options{Dial: tunnel.DialOptions{ConnectTimeout: longTimeout}})
	i := slices.Index(layers(results), Health)
	if i < 0 || results[i].Err != nil || !results[i].Note || !strings.Contains(results[i].Detail, "no health service") {
		t.Errorf("%+v, want a note for health", results)
	}
	if last := results[len(results)-1]; last.Layer != Reflection || last.Err != nil {
		t.Errorf("%+v, want reflection to work", last)
	}
}

func TestReflection(t *testing.T) {
	t.Parallel()
	for want, register := range map[string]func(*grpc.Server){
		"v1, 2 services: grpc.reflection.v1.ServerReflection, grpc.reflection.v1alpha.ServerReflection": reflectionOnly,
		"v1alpha, 1 service: grpc.reflection.v1alpha.ServerReflection":                                  reflectionV1Alpha,
		"Unauthenticated: no token": func(srv *grpc.Server) { grpc_reflection_v1.RegisterServerReflectionServer(srv, unauthenticated{}) },
	} {
		results := run(t, upgraded(serveGRPC(register))(t), &Options{Dial: tunnel.DialOptions{ConnectTimeout: longTimeout}})
		if last := results[len(results)-1]; last.Layer != Reflection || last.Detail != want {
			t.Errorf("%+v, want reflection with %q", last, want)
		}
	}
}

func TestTLSFailures(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t), newAuthority(t)
	good := &tls.Config{Certificates: []tls.Certificate{ca.certificate(t, time.Now().AddDate(0, 2, 0))}}
	expired := &tls.Config{Certificates: []tls.Certificate{ca.certificate(t, time.Now().Add(-time.Hour))}}
	demanding := good.Clone()
	demanding.ClientAuth, demanding.ClientCAs = tls.RequireAndVerifyClientCert, ca.pool
	for _, test := range []struct {
		name    string
		server  *tls.Config
		client  *tls.Config
		details []string
		err     any // for errors.As
	}{
		{"expired", expired, &tls.Config{RootCAs: ca.pool}, []string{"has expired", "certificate of worker.test, issued by Test CA, expired at"}, new(x509.CertificateInvalidError)},
		{"unknown authority", good, &tls.Config{RootCAs: other.pool}, []string{"signed by unknown authority", "issued by Test CA"}, new(x509.UnknownAuthorityError)},
		{"another name", good, &tls.Config{RootCAs: ca.pool, ServerName: "hub.test"}, []string{"hub.test", "certificate of worker.test"}, new(x509.HostnameError)},
		{"client certificate", demanding, &tls.Config{RootCAs: ca.pool}, []string{"certificate required"}, new(*net.OpError)},
		{"no TLS", nil, &tls.Config{RootCAs: ca.pool}, []string{"does not look like a TLS handshake"}, new(tls.RecordHeaderError)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			addr := accept(t, test.server, serveGRPC(registerAll))
			last := wantFailure(t, run(t, "wss://"+addr, &Options{Dial: tunnel.DialOptions{TLS: test.client, ConnectTimeout: longTimeout}}), []Layer{TCP, TLS}, test.details...)
			if !errors.As(last.Err, test.err) {
				t.Errorf("error %v, want a %T", last.Err, test.err)
			}
		})
	}
	t.Run("silent", func(t *testing.T) {
		t.Parallel()
		last := wantFailure(t, run(t, "wss://"+listen(t, swallow), &Options{Dial: tunnel.DialOptions{ConnectTimeout: shortTimeout}}), []Layer{TCP, TLS}, "no answer within 2s")
		if !strings.Contains(last.Hint, "ws:// or wss://") {
			t.Errorf("hint %q", last.Hint)
		}
	})
}

func TestResolution(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, url, proxy string
		timeout          time.Duration
		detail           string
	}{
		{"unknown", "wss://nowhere.test/", "", longTimeout, "lookup nowhere.test"},
		{"silent resolver", "ws://silent.test/", "", shortTimeout, "no answer within 2s"},
		{"the proxy's", "ws://worker.test/", "http://nowhere.test:3128", longTimeout, "lookup nowhere.test"},
		{"the target's before the proxy", "ws://nowhere.test/", "socks5://127.0.0.1:1", longTimeout, "lookup nowhere.test"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			wantFailure(t, run(t, test.url, &Options{Dial: tunnel.DialOptions{Proxy: test.proxy, ConnectTimeout: test.timeout}}), []Layer{DNS}, test.detail)
		})
	}
}

// proxyAnswering starts a proxy that answers CONNECT with status.
func proxyAnswering(status string) func(*testing.T) string {
	return func(t *testing.T) string {
		t.Helper()
		return httpProxy(t, status)
	}
}

func TestProxyFailures(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		proxy   func(*testing.T) string
		timeout time.Duration
		layers  []Layer
		detail  string
		refused bool
	}{
		{"credentials", proxyAnswering("407"), longTimeout, []Layer{TCP, Proxy}, "407 Proxy Authentication Required", true},
		{"forbidden", proxyAnswering("403 Forbidden"), longTimeout, []Layer{TCP, Proxy}, "403 Forbidden", false},
		{"silent", func(t *testing.T) string { t.Helper(); return listen(t, swallow) }, shortTimeout, []Layer{TCP, Proxy}, "no answer within 2s", false},
		{"nothing listens", func(*testing.T) string { return "127.0.0.1:1" }, longTimeout, []Layer{TCP}, "proxy http://127.0.0.1:1: connection refused", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			opts := &Options{Dial: tunnel.DialOptions{Proxy: "http://" + test.proxy(t), ConnectTimeout: test.timeout}}
			last := wantFailure(t, run(t, "wss://worker.test/", opts), test.layers, test.detail)
			pe, ok := errors.AsType[*outbound.ProxyError](last.Err)
			if !ok || pe.Refused() != test.refused {
				t.Errorf("error %#v, want a ProxyError, refused %v", last.Err, test.refused)
			}
		})
	}
}

// The peer receives the end of every stream, a GoAway, and a Close frame of status
// code 1000, even if it has accepted no stream.
func TestGracefulClose(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		serve func(*testing.T, *wsmux.Session)
	}{
		{"success", serveStreams},
		{"no streams", func(*testing.T, *wsmux.Session) {}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ended, goAway := make(chan error, 1), make(chan bool, 1)
			peer := newObserver(wsmux.Server)
			url := upgraded(func(t *testing.T, ws *websocket.Conn) {
				t.Helper()
				session, err := wsmux.NewSession(ws, wsmux.Accepting, wsmux.Server, &wsmux.Options{Observe: peer.observe})
				if err != nil {
					t.Error(err)
					return
				}
				test.serve(t, session)
				<-session.Done()
				goAway <- session.Stats().GoingAway
				ended <- session.Err()
			})(t)
			run(t, url, &Options{Dial: tunnel.DialOptions{ConnectTimeout: shortTimeout}})
			select {
			case err := <-ended:
				if ce, ok := errors.AsType[*websocket.CloseError](err); !ok || ce.Code != websocket.CloseNormalClosure {
					t.Errorf("the session ended with %v, want status code 1000", err)
				}
			case <-time.After(longTimeout):
				t.Fatal("the session has not ended")
			}
			if !<-goAway {
				t.Error("the peer received no GoAway")
			}
			if last := peer.current(); last.theirs.id != 1 || !last.theirs.ended {
				t.Errorf("the peer observed %+v, want the end of stream 1", last)
			}
		})
	}
}

// When ctx ends, Run reports no more layers and returns the cause.
func TestCanceled(t *testing.T) {
	t.Parallel()
	for _, layer := range []Layer{TCP, WebSocket, Ping, HTTP2} {
		t.Run(string(layer), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			url := upgraded(serveGRPC(registerAll))(t)
			var last Result
			err := Run(ctx, url, &Options{Dial: tunnel.DialOptions{Proxy: "none", ConnectTimeout: longTimeout}}, func(r Result) {
				if last = r; r.Layer == layer {
					cancel()
				}
			})
			if !errors.Is(err, context.Canceled) || last.Layer != layer || last.Err != nil {
				t.Errorf("Run = %v after %+v; want Canceled after %s", err, last, layer)
			}
		})
	}
}

func TestInvalidArguments(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"ftp://h/", "ws://"} {
		if err := Run(t.Context(), url, nil, func(r Result) { t.Errorf("%+v", r) }); err == nil {
			t.Errorf("Run with %s: no error", url)
		}
	}
	if err := Run(t.Context(), "ws://h/", &Options{Dial: tunnel.DialOptions{Proxy: "gopher://h"}}, func(r Result) { t.Errorf("%+v", r) }); err == nil {
		t.Error("Run with a bad proxy: no error")
	}
}
