package proxy

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// TestOddResponses expects the right status of responses that aren't quite gRPC's, and no
// details that contradict it.
func TestOddResponses(t *testing.T) {
	t.Parallel()
	cc := proxyClient(t, serveUntilEnd(t, tunneltest.ServeOdd))
	for _, want := range tunneltest.OddResponses() {
		s := open(t.Context(), t, cc, "/a.B/"+want.Name)
		_, err := receive(s)
		if err == nil {
			_, err = receive(s)
		}
		st := status.New(codes.OK, "")
		if !errors.Is(err, io.EOF) {
			st = status.Convert(err)
		}
		if message, ok := strings.CutSuffix(want.Message, "*"); st.Code() != want.Code || !ok && st.Message() != want.Message || ok && !strings.HasPrefix(st.Message(), message) {
			t.Errorf("%s: %v, want %v: %s", want.Name, err, want.Code, want.Message)
		}
		if got := len(st.Details()) > 0; got != want.Details || len(s.Trailer()["grpc-status-details-bin"]) > 0 != want.Details {
			t.Errorf("%s: details %v, trailer %q", want.Name, st.Details(), s.Trailer())
		}
	}
}

// TestGoAway expects the code and the debug data of a GOAWAY in the status of the calls
// that it ends, and of those that it excludes.
func TestGoAway(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GoAway", "Reject"} {
		addr := serveUntilEnd(t, tunneltest.ServeOdd)
		cc := proxyClient(t, addr)
		_, err := invoke(t.Context(), cc, "/a.B/"+method, nil)
		if st := status.Convert(err); st.Code() != codes.Unavailable || !strings.Contains(st.Message(), `GOAWAY ENHANCE_YOUR_CALM: "too_many_pings"`) {
			t.Errorf("%s: %v", method, err)
		}
	}
}

// TestGoAwayWithoutDebugData is TestGoAway for another code, and no debug data.
func TestGoAwayWithoutDebugData(t *testing.T) {
	t.Parallel()
	addr := serveUntilEnd(t, func(l net.Listener) {
		tunneltest.ServeHTTP2(l, func(f *http2.Framer, request *http2.MetaHeadersFrame) bool {
			_ = f.WriteGoAway(request.StreamID, http2.ErrCodeInadequateSecurity, nil)
			return false
		})
	})
	_, err := invoke(t.Context(), proxyClient(t, addr), method, nil)
	if st := status.Convert(err); st.Code() != codes.Unavailable || !strings.HasPrefix(st.Message(), "upstream "+addr+": connection lost") || !strings.HasSuffix(st.Message(), "GOAWAY INADEQUATE_SECURITY") {
		t.Errorf("the call ended with %v", err)
	}
}

// TestGoAwayAtOnce has an upstream that refuses connections with a GOAWAY.
func TestGoAwayAtOnce(t *testing.T) {
	t.Parallel()
	addr := serveUntilEnd(t, func(l net.Listener) {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = http2.NewFramer(c, nil).WriteGoAway(0, http2.ErrCodeHTTP11Required, []byte("go away"))
			_, _ = io.Copy(io.Discard, c) // until the client closes it
			_ = c.Close()
		}
	})
	u := upstream(t, addr, nil)
	_, err := invoke(t.Context(), proxyTo(t, u), method, nil)
	if st := status.Convert(err); st.Code() != codes.Unavailable || !strings.HasPrefix(st.Message(), "upstream "+addr+": ") || !strings.HasSuffix(st.Message(), `GOAWAY HTTP_1_1_REQUIRED: "go away"`) {
		t.Errorf("the call ended with %v", err)
	}
	_ = u.Close()
}
