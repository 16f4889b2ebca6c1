package inspect

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/wstun/wstun/commands/call"
	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/trace"
	"github.com/wstun/wstun/tunnel/tunneltest"
	"github.com/wstun/wstun/tunnel/wsmux"
)

const hub = "/wstun.demo.v1.Hub/"

// env is a Handler that shows the calls of sessions with a demo Hub.
type env struct {
	*Handler
	t       testing.TB
	hub     *demo.Hub
	server  *grpc.Server
	tracer  *trace.Tracer
	clients []demo.HubClient // of the sessions
	address string           // of the Hub, without a tunnel
	web     *httptest.Server
}

// newEnv returns an env with a number of sessions. The page's calls reach the Hub directly.
func newEnv(tb testing.TB, sessions int, opts Options) *env {
	tb.Helper()
	e := &env{t: tb, hub: demo.New(), server: grpc.NewServer()}
	e.hub.Register(e.server)
	web := httptest.NewUnstartedServer(nil) // for its listener
	e.address = web.Listener.Addr().String()
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = e.server.Serve(web.Listener)
	}()
	cc, err := grpc.NewClient(e.address, append(call.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		tb.Fatal(err)
	}
	if opts.Catalog == nil {
		opts.Catalog = hubCatalog(tb)
	}
	if opts.Sessions == nil {
		opts.Sessions = func() []Session { return nil }
	}
	opts.Address = e.address
	opts.Conn = func(uint64) (grpc.ClientConnInterface, error) { return cc, nil }
	e.Handler = New(&opts)
	e.tracer = trace.New(0, e.Output())
	streams := wsmux.NewListener()
	tunneled := make(chan struct{})
	go func() {
		defer close(tunneled)
		_ = e.server.Serve(streams)
	}()
	for i := range sessions {
		e.connect(streams, uint64(i)+1)
	}
	tb.Cleanup(func() {
		_ = cc.Close()
		e.hub.Close()
		e.server.Stop()
		<-served
		<-tunneled
		ctx, cancel := context.WithTimeout(context.Background(), tunneltest.Patience)
		defer cancel()
		if err := e.tracer.Close(ctx); err != nil {
			tb.Error(err)
		}
	})
	e.serve()
	return e
}

// serve serves the Handler until the test ends.
func (e *env) serve() {
	e.web = httptest.NewServer(e.Handler)
	e.t.Cleanup(func() {
		e.Close()
		e.web.Close()
	})
}

// gzipped returns data compressed.
func gzipped(tb testing.TB, data []byte) []byte {
	tb.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(data); err != nil {
		tb.Fatal(err)
	}
	if err := z.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// connect adds a session whose calls are traced.
func (e *env) connect(streams *wsmux.Listener, number uint64) {
	dialed, accepted := tunneltest.WebSockets(e.t)
	client, err := wsmux.NewSession(dialed, wsmux.Dialing, wsmux.Client, &wsmux.Options{Observe: e.tracer.Session(number)})
	if err != nil {
		e.t.Fatal(err)
	}
	server, err := wsmux.NewSession(accepted, wsmux.Accepting, wsmux.Server, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	streams.Add(server)
	cc, err := client.DialGRPC(grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		_ = cc.Close()
		_ = client.Close()
		_ = server.Close()
	})
	e.clients = append(e.clients, demo.NewHubClient(cc))
}

// hubCatalog returns the demo Hub's descriptors.
func hubCatalog(tb testing.TB) *reflection.Catalog {
	tb.Helper()
	file := protodesc.ToFileDescriptorProto(demo.File_commands_demo_hub_proto)
	set, err := reflection.FromFiles(context.Background(), &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{file}})
	if err != nil {
		tb.Fatal(err)
	}
	return reflection.NewCatalog(reflection.FromSet(set))
}

// do sends a request and returns the status and the body of the answer.
func (e *env) do(method, path, body string) (int, string) {
	e.t.Helper()
	r, err := http.NewRequestWithContext(e.t.Context(), method, e.web.URL+path, strings.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	if method != http.MethodGet {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		e.t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	return response.StatusCode, string(data)
}

// get returns the answer to a GET that succeeds.
func (e *env) get(path string) string {
	e.t.Helper()
	status, body := e.do(http.MethodGet, "/api/v1/"+path, "")
	if status != http.StatusOK {
		e.t.Fatalf("GET %s = %d %s", path, status, body)
	}
	return body
}

// object returns the answer to a GET that succeeds, decoded.
func (e *env) object(path string) map[string]any {
	e.t.Helper()
	return decode(e.t, e.get(path))
}

func decode(tb testing.TB, text string) (v map[string]any) {
	tb.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		tb.Fatalf("%v in %s", err, text)
	}
	return v
}

// post returns the answer to a POST with that status.
func (e *env) post(path, body string, status int) map[string]any {
	e.t.Helper()
	got, text := e.do(http.MethodPost, "/api/v1/"+path, body)
	if got != status {
		e.t.Fatalf("POST %s %s = %d %s, want %d", path, body, got, text, status)
	}
	if text == "" {
		return nil
	}
	return decode(e.t, text)
}

// at returns a part of a decoded JSON value, by names and indexes.
func at(tb testing.TB, v any, path ...any) any {
	tb.Helper()
	for _, step := range path {
		switch step := step.(type) {
		case string:
			v = v.(map[string]any)[step]
		case int:
			v = v.([]any)[step]
		}
	}
	return v
}

// await waits until there is a call for which ok is true, and returns its ID.
func (e *env) await(ok func(c map[string]any) bool) int {
	e.t.Helper()
	s := e.follow("")
	defer s.close()
	for {
		l := s.next()
		calls, _ := l["calls"].([]any)
		for _, c := range calls {
			if c := c.(map[string]any); ok(c) {
				return int(c["id"].(float64))
			}
		}
	}
}

// ended returns a function that is true for an ended call of a method.
func ended(method string) func(map[string]any) bool {
	return func(c map[string]any) bool { return c["method"] == hub+method && c["end"] != nil }
}

// follower reads a stream of changes.
type follower struct {
	t      testing.TB
	body   io.ReadCloser
	lines  *bufio.Scanner
	cancel context.CancelFunc
}

// follow begins a stream of changes.
func (e *env) follow(query string) *follower {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(e.t.Context(), tunneltest.Patience)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, e.web.URL+"/api/v1/changes?"+query, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	response, err := http.DefaultTransport.RoundTrip(r) //nolint:bodyclose // by follower.close
	if err != nil {
		e.t.Fatal(err)
	}
	s := bufio.NewScanner(response.Body)
	s.Buffer(nil, 64<<20)
	return &follower{e.t, response.Body, s, cancel}
}

// next returns the next line.
func (f *follower) next() map[string]any {
	f.t.Helper()
	if !f.lines.Scan() {
		f.t.Fatalf("the stream has ended: %v", f.lines.Err())
	}
	return decode(f.t, f.lines.Text())
}

func (f *follower) close() {
	f.cancel()
	_ = f.body.Close()
}

// key creates a key in a session.
func (e *env) key(session int, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), tunneltest.Patience)
	defer cancel()
	_, err := e.clients[session].CreateKey(ctx, &demo.CreateKeyRequest{Name: name})
	return err
}

// callPath returns the path of a call.
func callPath(id int, rest string) string { return fmt.Sprintf("calls/%d%s", id, rest) }

// fieldsOf returns metadata.
func fieldsOf(name, value string) []hpack.HeaderField {
	return []hpack.HeaderField{{Name: name, Value: value}}
}
