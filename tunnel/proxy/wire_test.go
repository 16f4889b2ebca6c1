package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// fields encodes headers, given as name, value, name, value.
func fields(kv ...string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(kv); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: kv[i], Value: kv[i+1]}) // to memory
	}
	return b.Bytes()
}

// serveHTTP2 serves until the test ends, and calls answer for each request.
func serveHTTP2(t *testing.T, answer func(f *http2.Framer, request *http2.MetaHeadersFrame)) string {
	t.Helper()
	return serveUntilEnd(t, func(l net.Listener) {
		tunneltest.ServeHTTP2(l, func(f *http2.Framer, request *http2.MetaHeadersFrame) bool {
			answer(f, request)
			return true
		})
	})
}

// serveUntilEnd calls serve with a listener that is closed when the test ends, after its
// clients.
func serveUntilEnd(t *testing.T, serve func(net.Listener)) string {
	t.Helper()
	l := listen(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		serve(l)
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}

// TestReset has an upstream that resets calls before or after the headers.
func TestReset(t *testing.T) {
	t.Parallel()
	tests := map[http2.ErrCode]codes.Code{
		http2.ErrCodeCancel:             codes.Canceled,
		http2.ErrCodeInternal:           codes.Internal,
		http2.ErrCodeEnhanceYourCalm:    codes.ResourceExhausted,
		http2.ErrCodeInadequateSecurity: codes.PermissionDenied,
	}
	for code, want := range tests {
		for _, headers := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v/%t", code, headers), func(t *testing.T) {
				t.Parallel()
				cc := proxyClient(t, serveHTTP2(t, func(f *http2.Framer, request *http2.MetaHeadersFrame) {
					if headers {
						_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: request.StreamID, EndHeaders: true, BlockFragment: fields(":status", "200", "content-type", "application/grpc")})
					}
					_ = f.WriteRSTStream(request.StreamID, code)
				}))
				s := open(t.Context(), t, cc, method)
				if _, err := receive(s); status.Code(err) != want {
					t.Errorf("the call ended with %v, want %v", err, want)
				}
			})
		}
	}
}

// exchange sends a request to addr and returns the frames of the response, as one letter
// each and a dot at the end of the stream, and the headers.
func exchange(t *testing.T, addr string, headers ...string) (frames string, got []hpack.HeaderField) {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, http2.ClientPreface)
	f := http2.NewFramer(c, c)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = f.WriteSettings()
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, EndStream: true, BlockFragment: fields(append([]string{
		":method", "POST", ":scheme", "http", ":path", method, ":authority", "x", "te", "trailers",
	}, headers...)...)})
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch fr := frame.(type) {
		case *http2.MetaHeadersFrame:
			frames += "H"
			got = append(got, fr.Fields...)
		case *http2.DataFrame:
			frames += "D"
		case *http2.RSTStreamFrame:
			t.Fatalf("reset: %v", fr.ErrCode)
		default:
			continue
		}
		if frame.Header().Flags.Has(http2.FlagDataEndStream) { // HEADERS frames have the same bit
			return frames + ".", got
		}
	}
}

func TestTrailersOnly(t *testing.T) {
	t.Parallel()
	response := []string{":status", "200", "content-type", "application/grpc"}
	status := []string{"grpc-status", "9", "grpc-message", "100%25 %E6%97%A5", "key", "value"}
	tests := []struct {
		want   string
		answer [][]string
	}{
		{"H.", [][]string{append(slices.Clone(response), status...)}},
		{"HH.", [][]string{response, status}},
	}
	for _, tt := range tests {
		addr := serveHTTP2(t, func(f *http2.Framer, request *http2.MetaHeadersFrame) {
			for i, h := range tt.answer {
				_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: request.StreamID, EndHeaders: true, EndStream: i == len(tt.answer)-1, BlockFragment: fields(h...)})
			}
		})
		proxy := serve(t, nil, New([]*Upstream{upstream(t, addr, nil)}).ServerOptions()...)
		frames, got := exchange(t, proxy, "content-type", "application/grpc")
		if frames != tt.want {
			t.Errorf("frames %q, want %q", frames, tt.want)
		}
		for i := 0; i < len(status); i += 2 {
			if !slices.Contains(got, hpack.HeaderField{Name: status[i], Value: status[i+1]}) {
				t.Errorf("%s: %q is not among %v", status[i], status[i+1], got)
			}
		}
	}
}

// TestForeignHeaders sends metadata that grpc-go's client rejects, and an unknown
// content-subtype.
func TestForeignHeaders(t *testing.T) {
	t.Parallel()
	seen := make(chan map[string]string, 1)
	addr := serveHTTP2(t, func(f *http2.Framer, request *http2.MetaHeadersFrame) {
		headers := make(map[string]string)
		for _, h := range request.Fields {
			headers[h.Name] = h.Value
		}
		seen <- headers
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: request.StreamID, EndHeaders: true, EndStream: true, BlockFragment: fields(":status", "200", "content-type", "application/grpc+x", "grpc-status", "0", "name", "ü")})
	})
	proxy := serve(t, nil, New([]*Upstream{upstream(t, addr, nil)}).ServerOptions()...)
	frames, got := exchange(t, proxy, "content-type", "application/grpc+x", "name", "ü", "kept", "yes", "x!y", "z")
	if frames != "H." || !slices.Contains(got, hpack.HeaderField{Name: "content-type", Value: "application/grpc+x"}) {
		t.Errorf("frames %q, %v", frames, got)
	}
	request := wait(t, seen, "request")
	for k, want := range map[string]string{"content-type": "application/grpc+x", "kept": "yes", "name": "", "x!y": "", ":authority": "x", ":path": method} {
		if got := request[k]; got != want {
			t.Errorf("%s: %q reached the upstream, want %q", k, got, want)
		}
	}
}

// TestContentType expects the caller's content-type in the request and the response,
// without the name of a codec.
func TestContentType(t *testing.T) {
	t.Parallel()
	for _, want := range []string{"application/grpc", "application/grpc+proto", "application/grpc+json"} {
		seen := make(chan string, 1)
		addr := serveHTTP2(t, func(f *http2.Framer, request *http2.MetaHeadersFrame) {
			for _, h := range request.Fields {
				if h.Name == "content-type" {
					seen <- h.Value
				}
			}
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: request.StreamID, EndHeaders: true, EndStream: true, BlockFragment: fields(":status", "200", "content-type", want, "grpc-status", "0")})
		})
		proxy := serve(t, nil, New([]*Upstream{upstream(t, addr, nil)}).ServerOptions()...)
		_, got := exchange(t, proxy, "content-type", want)
		if !slices.Contains(got, hpack.HeaderField{Name: "content-type", Value: want}) {
			t.Errorf("%s: the response has %v", want, got)
		}
		if got := wait(t, seen, "request"); got != want {
			t.Errorf("%q reached the upstream, want %q", got, want)
		}
	}
}
