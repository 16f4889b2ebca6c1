package relay

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/tunneltest"
)

// get returns the status and the body of a GET request to the relay.
func (st *site) get(t *testing.T, path string, header http.Header) (int, string) {
	t.Helper()
	return get(t, "http"+strings.TrimPrefix(st.url, "ws")+path, header)
}

// get returns the status and the body of a GET request.
func get(t *testing.T, url string, header http.Header) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(tunneltest.Soon(t), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestHandler(t *testing.T) {
	t.Parallel()
	r, st := newRelay(t, Options{ID: "r1", Base: "/x"})
	for _, name := range []string{"b-2", "a-1", "b-1"} {
		s, err := tunnel.Dial(tunneltest.Soon(t), st.url+Path("/x", name), dialOptions(Serve, ""))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		await(t, "the worker's arrival", func() bool { return r.knows(name) })
	}
	for _, test := range []struct {
		path string
		code int
		body string // with * for the time
	}{
		{"/x/v1/worker/a-1", 200, `{"name":"a-1","relay":"r1","since":"*"}`},
		{"/x/v1/worker/a-2", 404, "wstun: a-2 isn't connected"},
		{"/x/v1/worker/A", 400, `wstun: "A": not a name`},
		{"/v1/worker/a-1", 404, "wstun: nothing here"},
		{"/x/v1/workers", 200, `{"relay":"r1","workers":[{"name":"a-1","relay":"r1","since":"*"},{"name":"b-1","relay":"r1","since":"*"},{"name":"b-2","relay":"r1","since":"*"}],"more":false}`},
		{"/x/v1/workers?prefix=b&limit=1", 200, `{"relay":"r1","workers":[{"name":"b-1","relay":"r1","since":"*"}],"more":true}`},
		{"/x/v1/workers?prefix=b&limit=2", 200, `"more":false`},
		{"/x/v1/workers?prefix=c", 200, `{"relay":"r1","workers":[],"more":false}`},
		{"/x/v1/workers?limit=0", 400, "wstun: limit: want 1 to 10000"},
		{"/x/v1/workers?limit=99999999999999999999", 400, "wstun: limit"},
		{"/healthz", 200, "ok"},
		{"/readyz", 200, "ok"},
	} {
		code, body := st.get(t, test.path, nil)
		at := strings.Split(body, `"since":"`)
		for i := range at[1:] {
			at[i+1] = "*" + at[i+1][strings.Index(at[i+1], `"`):]
		}
		if body := strings.Join(at, `"since":"`); code != test.code || !strings.Contains(body, test.body) {
			t.Errorf("GET %s = %d %s, want %d %s", test.path, code, body, test.code, test.body)
		}
	}
	if code, _ := st.get(t, "/x/v1/workers", http.Header{"Origin": {"https://page.example"}}); code != http.StatusForbidden {
		t.Errorf("a web page gets %d, want 403", code)
	}
	if code, _ := st.get(t, "/healthz", http.Header{"Origin": {"https://page.example"}}); code != http.StatusOK {
		t.Errorf("/healthz with an Origin: %d", code)
	}
	r.refuseWorkers()
	if code, _ := st.get(t, "/readyz", nil); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz while draining: %d, want 503", code)
	}
	if code, _ := st.get(t, "/healthz", nil); code != http.StatusOK {
		t.Errorf("/healthz while draining: %d, want 200", code)
	}
}

// A sender learns only of Workers that it may dial.
func TestHandlerAuthorizes(t *testing.T) {
	t.Parallel()
	r, st := newRelay(t, Options{Authorize: func(req *http.Request, role Role, name string) (Grant, error) {
		switch {
		case role == Serve || strings.HasPrefix(name, req.Header.Get("X-May")):
			return Grant{}, nil
		case req.Header.Get("X-May") == "":
			return Grant{}, refuse(http.StatusUnauthorized, "no token")
		case name == "":
			return Grant{}, nil
		}
		return Grant{}, errors.New("may not dial " + name)
	}})
	st.worker(t, r, "a-1", "", "")
	st.worker(t, r, "b-1", "", "")
	may := http.Header{"X-May": {"b"}}
	if code, body := st.get(t, "/v1/workers", may); code != 200 || strings.Contains(body, "a-1") || !strings.Contains(body, "b-1") {
		t.Errorf("the list is %d %s", code, body)
	}
	_, exists := st.get(t, "/v1/worker/a-1", may)
	code, absent := st.get(t, "/v1/worker/a-2", may)
	if code != http.StatusForbidden || strings.ReplaceAll(exists, "a-1", "a-2") != absent {
		t.Errorf("%d %q and %q: the answer tells whether a worker exists", code, exists, absent)
	}
}

// A Worker at another relay is up, too.
func TestHandlerDirectory(t *testing.T) {
	t.Parallel()
	var m Memory
	defer m.At("ws://other").Claim("w", Instance{}, func(string) {})()
	_, st := newRelay(t, Options{ID: "r1", Directory: m.At("ws://this")})
	if code, body := st.get(t, Path("", "w"), nil); code != 200 || body != "{\"name\":\"w\"}\n" {
		t.Errorf("GET = %d %s", code, body)
	}
	if code, _ := st.get(t, Path("", "absent"), nil); code != 404 {
		t.Errorf("GET = %d, want 404", code)
	}
}

func TestFetchList(t *testing.T) {
	t.Parallel()
	r, st := newRelay(t, Options{Authorize: func(req *http.Request, role Role, _ string) (Grant, error) {
		if role == Dial && req.Header.Get("Authorization") != "Bearer secret" {
			return Grant{}, refuse(http.StatusUnauthorized, "no token")
		}
		return Grant{}, nil
	}})
	st.worker(t, r, "w-1", "", "")
	opts := &tunnel.DialOptions{Proxy: "none", Header: http.Header{"Authorization": {"Bearer secret"}}}
	if l, err := FetchList(tunneltest.Soon(t), st.url, "w", 5, opts); err != nil || len(l.Workers) != 1 || l.Workers[0].Name != "w-1" || l.More {
		t.Errorf("FetchList = %+v, %v", l, err)
	}
	_, err := FetchList(tunneltest.Soon(t), st.url+"/?a=1", "", 5, &tunnel.DialOptions{Proxy: "none"})
	wantRefusal(t, err, http.StatusUnauthorized, "no token")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := FetchList(ended, st.url, "", 5, opts); !errors.Is(err, context.Canceled) {
		t.Errorf("FetchList = %v, want the context's error", err)
	}
}

func TestListURL(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"ws://h":            "ws://h/v1/workers?limit=5&prefix=a%26b",
		"wss://u:p@h/x/?q=": "wss://u:p@h/x/v1/workers?q=&limit=5&prefix=a%26b",
	} {
		if got, err := listURL(in, "a&b", 5, 0); got != want || err != nil {
			t.Errorf("listURL(%s) = %s, %v, want %s", in, got, err, want)
		}
	}
}

func FuzzParseList(f *testing.F) {
	text, err := json.Marshal(&List{Workers: []WorkerInfo{{Name: "w-1"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"workers":[{"name":"\u001b[2J"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		l, err := parseList(body)
		if err != nil {
			return
		}
		for _, info := range l.Workers {
			if err := CheckName(info.Name); err != nil {
				t.Errorf("%q: %v", info.Name, err)
			}
		}
	})
}
