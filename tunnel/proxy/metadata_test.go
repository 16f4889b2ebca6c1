package proxy

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// TestMetadata sends all kinds of metadata in requests, headers and trailers.
func TestMetadata(t *testing.T) {
	t.Parallel()
	sent := metadata.MD{
		"single":         {"value"},
		"repeated":       {"a", "b, c", "a"},
		"empty":          {""},
		"binary-bin":     {"\x00\xff\n\r", "", "second"},
		"grpc-trace-bin": {"trace"},
		"grpc-tags-bin":  {"tags"},
		"authorization":  {"Bearer x"},
	}
	seen := make(chan metadata.MD, 1)
	cc := proxyClient(t, serveRaw(t, func(s grpc.ServerStream) error {
		md, _ := metadata.FromIncomingContext(s.Context())
		seen <- md
		if err := s.SendHeader(sent); err != nil {
			return err
		}
		s.SetTrailer(sent)
		s.SetTrailer(metadata.Pairs("grpc-retry-pushback-ms", "7", "grpc-server-stats-bin", "x"))
		return nil
	}))
	md := sent.Copy()
	md["grpc-previous-rpc-attempts"] = []string{"2"}
	md["grpc-internal-encoding-request"] = []string{"gzip"} // of one hop
	s := open(metadata.NewOutgoingContext(t.Context(), md), t, cc, method)
	contains := func(place string, got metadata.MD) {
		t.Helper()
		for k, want := range sent {
			if !slices.Equal(got[k], want) {
				t.Errorf("%s: %s = %q, want %q", place, k, got[k], want)
			}
		}
	}
	request := wait(t, seen, "request")
	contains("request", request)
	if got := request["grpc-previous-rpc-attempts"]; !slices.Equal(got, []string{"2"}) {
		t.Errorf("attempts = %q", got)
	}
	for _, k := range []string{"user-agent", "content-type", ":authority"} {
		if len(request[k]) != 1 {
			t.Errorf("request: %s = %q", k, request[k])
		}
	}
	if _, ok := request["grpc-internal-encoding-request"]; ok {
		t.Error("a header of the first hop was forwarded")
	}
	header, err := s.Header()
	if err != nil {
		t.Fatal(err)
	}
	contains("header", header)
	_, _ = receive(s)
	contains("trailer", s.Trailer())
	if got := s.Trailer()["grpc-retry-pushback-ms"]; !slices.Equal(got, []string{"7"}) {
		t.Errorf("pushback = %q", got)
	}
	if _, ok := s.Trailer()["grpc-server-stats-bin"]; ok {
		t.Error("a trailer of the first hop was forwarded")
	}
}

func TestFilterMetadata(t *testing.T) {
	t.Parallel()
	md := metadata.MD{
		":authority": {"a"}, ":path": {"/"}, "": {"x"}, "te": {"trailers"}, "user-agent": {"u"}, "content-type": {"c"},
		"content-length": {"5"}, "connection": {"close"}, "grpc-timeout": {"1S"}, "grpc-encoding": {"gzip"},
		"grpc-accept-encoding": {"gzip"}, "x!y": {"token, but not for gRPC"}, "Upper": {"x"},
		"kept":     {"a", "\xff", "b", "line\nbreak"},
		"dropped":  {"ü"},
		"kept-bin": {"\x00\xff"},
	}
	want := map[string][]string{"kept": {"a", "b"}, "kept-bin": {"\x00\xff"}}
	if got := filterMetadata(md); !maps.EqualFunc(got, want, slices.Equal[[]string]) {
		t.Errorf("filterMetadata = %q, want %q", map[string][]string(got), want)
	}
	if got := filterMetadata(nil); got != nil {
		t.Errorf("filterMetadata(nil) = %v", got)
	}
}

func TestSplitMethod(t *testing.T) {
	t.Parallel()
	tests := []struct{ path, service, method string }{
		{"/pkg.Service/Method", "pkg.Service", "Method"},
		{"/a/b/c", "a/b", "c"},
		{"/Service/", "Service", ""},
		{"//", "", ""},
		{"/", "", ""},
		{"", "", ""},
		{"/Method", "", "Method"},
	}
	for _, tt := range tests {
		if s, m := splitMethod(tt.path); s != tt.service || m != tt.method {
			t.Errorf("splitMethod(%q) = %q, %q, want %q, %q", tt.path, s, m, tt.service, tt.method)
		}
	}
}

func TestContentSubtype(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"application/grpc":            "",
		"application/grpc+proto":      "proto",
		"Application/gRPC+JSON":       "json",
		"application/grpc;charset=x":  "charset=x",
		"application/grpcweb":         "",
		"application/grpc-web+proto":  "",
		"text/html":                   "",
		"":                            "",
		"application/grpc+a;charset=": "a;charset=",
		"application/grpc+\xb9":       "",
	}
	for in, want := range tests {
		if got := contentSubtype(in); got != want {
			t.Errorf("contentSubtype(%q) = %q, want %q", in, got, want)
		}
	}
}

// FuzzHeaders parses the headers of callers and upstreams.
func FuzzHeaders(f *testing.F) {
	f.Add("/pkg.Service/Method", "application/grpc+proto", "x-key", "value")
	f.Add("//", "application/grpc", "grpc-trace-bin", "\x00")
	f.Add("", "application/grpc;", ":authority", "\xff")
	f.Fuzz(func(t *testing.T, path, contentType, key, value string) {
		service, method := splitMethod(path)
		if !strings.HasSuffix(path, method) || !strings.Contains(path, service) || strings.Contains(method, "/") {
			t.Errorf("splitMethod(%q) = %q, %q", path, service, method)
		}
		if sub := contentSubtype(contentType); len(sub) >= len(contentType) && sub != "" {
			t.Errorf("contentSubtype(%q) = %q", contentType, sub)
		}
		for k, values := range filterMetadata(metadata.MD{key: {value, "x", value}}) {
			if len(values) == 0 || hopByHop[k] || strings.Trim(k, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
				t.Errorf("%q: %q is forwarded", k, values)
			}
			for _, v := range values {
				if !strings.HasSuffix(k, "-bin") && strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' }) {
					t.Errorf("%q: %q is forwarded", k, v)
				}
			}
		}
	})
}
