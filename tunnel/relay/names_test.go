package relay

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/tunneltest"
)

func TestCheckName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a", "0", "worker-17", "a--b", strings.Repeat("a", MaxName)} {
		if err := CheckName(name); err != nil {
			t.Errorf("CheckName(%q) = %v", name, err)
		}
	}
	for _, name := range []string{"", "-a", "a-", "A", "a.b", "*", ">", "a b", "a%2e", "a/b", "ä", "a\x00", "..", strings.Repeat("a", MaxName+1)} {
		if CheckName(name) == nil {
			t.Errorf("CheckName(%q) = nil, want an error", name)
		}
	}
}

// No path but that of a name reaches the lookup.
func TestPaths(t *testing.T) {
	t.Parallel()
	r, st := newRelay(t, Options{Hold: -1, Base: "/base"})
	st.url += "/base"
	st.worker(t, r, "w", "", "")
	st.url = strings.TrimSuffix(st.url, "/base")
	for path, code := range map[string]int{
		"/base/v1/worker/w":           0,
		"/base/v1/worker/w?token=x":   0,
		"/base/v1/worker/":            400,
		"/base/v1/worker/*":           400,
		"/base/v1/worker/%3E":         400,
		"/base/v1/worker/%77":         400, // "w"
		"/base/v1/worker/w%2f":        400,
		"/base/v1/worker/w/":          400,
		"/base/v1/worker/a.b":         400,
		"/base/v1/worker/..%2fworker": 400,
		"/base/v1/worker/W":           400,
		"/base/v1/worker":             404,
		"/%62ase/v1/worker/w":         404, // "b"
		"/v1/worker/w":                404,
		"/":                           404,
	} {
		s, err := tunnel.Dial(tunneltest.Soon(t), st.url+path, dialOptions(Dial, ""))
		if err == nil {
			_ = s.Close()
		}
		he, _ := errors.AsType[*tunnel.HandshakeError](err)
		if code == 0 && err != nil || code != 0 && (he == nil || he.StatusCode != code) {
			t.Errorf("%s: %v, want status %d", path, err, code)
		}
	}
}

func FuzzPath(f *testing.F) {
	f.Add("/v1/worker/w-1", "")
	f.Add("/base/v1/worker/%2e", "/base")
	f.Fuzz(func(t *testing.T, path, base string) {
		name, err := parsePath(path, base)
		if err == nil && (path != Path(base, name) || CheckName(name) != nil || strings.ContainsAny(name, ".*>%/ ")) {
			t.Errorf("parsePath(%q, %q) = %q", path, base, name)
		}
	})
}

// The handshake must have one subprotocol, and a Worker's instance must be valid.
func TestHandshakes(t *testing.T) {
	t.Parallel()
	_, st := newRelay(t, Options{Hold: -1})
	for i, test := range []struct {
		subprotocols []string
		header       http.Header
		code         int
	}{
		{[]string{string(Serve)}, http.Header{InstanceHeader: {instanceA}}, 0},
		{[]string{string(Dial)}, http.Header{ViaHeader: {"r2"}}, http.StatusMisdirectedRequest},
		{nil, nil, http.StatusBadRequest},
		{[]string{string(Serve), string(Dial)}, nil, http.StatusBadRequest},
		{[]string{"chat"}, nil, http.StatusBadRequest},
		{[]string{string(Serve)}, http.Header{InstanceHeader: {strings.ToUpper(instanceA)}}, http.StatusBadRequest},
		{[]string{string(Serve)}, http.Header{InstanceHeader: {instanceA, instanceB}}, http.StatusBadRequest},
		{[]string{string(Serve)}, http.Header{InstanceHeader: {"*"}}, http.StatusBadRequest},
		{[]string{string(Serve)}, http.Header{SinceHeader: {"-1"}}, http.StatusBadRequest},
		{[]string{string(Serve)}, http.Header{SinceHeader: {"1e9"}}, http.StatusBadRequest},
	} {
		opts, name := dialOptions(Serve, ""), fmt.Sprintf("w-%d", i)
		opts.Subprotocols, opts.Header = test.subprotocols, test.header
		s, err := tunnel.Dial(tunneltest.Soon(t), st.url+Path("", name), opts)
		if err == nil {
			_ = s.Close()
		}
		he, _ := errors.AsType[*tunnel.HandshakeError](err)
		if test.code == 0 && err != nil || test.code != 0 && (he == nil || he.StatusCode != test.code) {
			t.Errorf("%v %v: %v, want status %d", test.subprotocols, test.header, err, test.code)
		}
	}
}

func TestParseSince(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	for text, want := range map[string]time.Time{
		"": now, "1": time.Unix(0, 1), "1000000001000000000": now.Add(time.Second), "9000000000000000000": now,
	} {
		if got, err := parseSince(text, now); err != nil || !got.Equal(want) {
			t.Errorf("parseSince(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"0", "-1", "x", "1 ", "99999999999999999999"} {
		if _, err := parseSince(text, now); err == nil {
			t.Errorf("parseSince(%q): no error", text)
		}
	}
}

// Authorize is called before the lookup, and its subject is in the records.
func TestAuthorize(t *testing.T) {
	t.Parallel()
	var recs records
	r, st := newRelay(t, Options{Observe: recs.observe, Authorize: func(req *http.Request, role Role, name string) (Grant, error) {
		switch {
		case name == "nobody":
			return Grant{}, refuse(http.StatusUnauthorized, "no token")
		case role == Dial && name != "w":
			return Grant{Subject: "eve"}, errors.New("not your worker")
		}
		return Grant{Subject: "alice"}, nil
	}})
	st.worker(t, r, "w", "", "")
	e := st.mustDial(t, Dial, "w", "")
	_, err := st.dial(t, Dial, "absent", "") // isn't held
	wantRefusal(t, err, http.StatusForbidden, "not your worker")
	_, err = st.dial(t, Serve, "nobody", "")
	wantRefusal(t, err, http.StatusUnauthorized, "no token")
	if all := recs.of("refusal", Dial); len(all) != 1 || all[0].Subject != "eve" || all[0].Code != http.StatusForbidden {
		t.Errorf("the records of the refusal are %+v", all)
	}
	_ = e.Close()
	await(t, "the record", func() bool { return len(recs.of("session", Dial)) == 1 })
	if rec := recs.of("session", Dial)[0]; rec.Subject != "alice" {
		t.Errorf("the subject is %q, want alice", rec.Subject)
	}
}
