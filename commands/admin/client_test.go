package admin

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/wstun/wstun/commands/usage"
)

func TestAttachValues(t *testing.T) {
	t.Setenv(FolderVariable, t.TempDir())
	for _, attach := range []string{"0", "-5", "abc", "a b", "ftp://h", "ftp://h/#token=s3cr3t", "http://", "127.0.0.1"} {
		if _, err := Attach(t.Context(), attach, ""); !isUsage(err) || !strings.HasPrefix(err.Error(), "--attach "+strings.TrimSuffix(attach, "#token=s3cr3t")+": want a process ID, ") {
			t.Errorf("%s: %v", attach, err)
		}
	}
	if _, err := Attach(t.Context(), "999999999", ""); err == nil || isUsage(err) {
		t.Errorf("a process ID without a process: %v", err)
	}
	for attach, want := range map[string]string{
		"http://h:1/#token=s3cr3t": "http://h:1", "https://h:1/x?y#token=s3cr3t": "https://h:1",
		"h:1": "h:1", "unix:/x": "unix:/x",
	} {
		clients, err := Attach(t.Context(), attach, "")
		if err != nil || len(clients) != 1 || clients[0].Name() != want {
			t.Errorf("%s: %+v, %v, want %s", attach, clients, err, want)
		} else if clients[0].token != "s3cr3t" && strings.Contains(attach, "s3cr3t") {
			t.Errorf("%s: token %q", attach, clients[0].token)
		}
	}
}

func isUsage(err error) bool {
	_, ok := errors.AsType[*usage.Error](err)
	return ok
}

// A server that speaks first, in another protocol, such as gRPC's.
func TestStatusOfGRPC(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	served := make(chan error)
	go func() { served <- server.Serve(l) }()
	for range 20 { // net/http has several errors for it
		_, err := newClient("p", "http://"+l.Addr().String(), "", nil).Status(t.Context())
		if err == nil || err.Error() != "p: "+errForeign.Error() {
			t.Errorf("%v, want %v", err, errForeign)
		}
	}
	server.Stop()
	<-served
}

// The answers of servers other than wstun are errors.
func TestStatusOfOthers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		code       int
		body, want string
	}{
		{200, "null", "not the answer of a wstun: members are missing"},
		{200, "{}", "not the answer of a wstun: members are missing"},
		{200, `{"pid":7,"ended":[{"id":1}]}`, "not the answer of a wstun: members are missing"},
		{200, "<html>", "not the answer of a wstun: invalid character"},
		{302, "", "302 Found"},
		{500, "a \r\nb", "500 Internal Server Error: a"},
		{503, "wstun: 16 streams already\n", "503 Service Unavailable: 16 streams already"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(test.code)
			_, _ = io.WriteString(w, test.body)
		}))
		c := newClient("p", server.URL, "", nil)
		if _, err := c.Status(t.Context()); err == nil || !strings.HasPrefix(err.Error()+"\n", "p: "+test.want) || test.code > 200 && err.Error() != "p: "+test.want {
			t.Errorf("%d %s: %v", test.code, test.body, err)
		}
		server.Close()
	}
}
