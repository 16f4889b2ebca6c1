//go:build unix

package e2e

import (
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// A relay answers at --admin and, for load balancers and engineers, at its own port.
func TestRelayAdmin(t *testing.T) {
	t.Parallel()
	relay := startDaemon(t, "wstun", "relay", "--accept", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--drain-pace", "0")
	admin, token := relay.find(t, `admin="(http://127\.0\.0\.1:\d+)/#`), relay.find(t, `admin=\S+#token=(\w+)`)
	auth := "Authorization: Bearer " + token
	url := relay.find(t, `^(ws://.*)$`)
	own := "http" + strings.TrimSuffix(strings.TrimPrefix(url, "ws"), "/")
	startDaemon(t, "wstun", "serve", "--name", "w-1", url).find(t, `msg=ready`)
	relay.find(t, `worker connected`)
	watch := startDaemon(t, "wstun", "call", "--to", "w-1", "-d", `{"tick":"0.1s"}`, url, "WatchKeys")
	watch.find(t, `snapshot`)

	for _, test := range []struct {
		url, header, want string
		code              int
	}{
		{admin + "/healthz", "", "ok\n", 200},
		{admin + "/readyz", "", "ok\n", 200},
		{admin + "/readyz?verbose", "", "sessions: 2\n", 200},
		{admin + "/metrics", "", "\nwstun_relay_sessions{role=\"serve\"} 1\n", 200},
		{admin + "/metrics", "", "\nwstun_streams 1\n", 200},
		{admin + "/api/v1/sessions", auth, `"role":"serve","name":"w-1"`, 200},
		{admin + "/api/v1/sessions", "", "token", 401},
		{admin + "/", auth, "wstun relay: no page here\n", 404},
		{own + "/healthz", "", "ok\n", 200},
		{own + "/readyz", "Host: ", "ok\n", 200},
		{own + "/v1/worker/w-1", "", `{"name":"w-1","since":"20`, 200},
		{own + "/v1/worker/w-2", "", "w-2 isn't connected", 404},
		{own + "/v1/workers", "", `"workers":[{"name":"w-1"`, 200},
		{own + "/v1/workers", "Host: evil.example", "not a loopback address", 403},
		{own + "/v1/workers", "Origin: https://evil.example", "is not allowed", 403},
	} {
		if code, body := fetch(t, test.url, test.header); code != test.code || !strings.Contains(body, test.want) {
			t.Errorf("%s with %q: %d %.300s, want %d %s", test.url, test.header, code, body, test.code, test.want)
		}
	}

	// The call keeps the relay up, which is unready.
	if err := relay.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	relay.find(t, `msg=draining`)
	if _, err := watch.await(regexp.MustCompile(`(?s)tick.*tick.*tick`)); err != nil {
		t.Fatal(err)
	}
	if code, body := fetch(t, admin+"/readyz", ""); code != 503 || body != "draining\n" {
		t.Errorf("/readyz while draining: %d %s", code, body)
	}
	if code, body := fetch(t, own+"/readyz", ""); code != 503 || body != "draining\n" {
		t.Errorf("the relay's own /readyz while draining: %d %s", code, body)
	}
	if code, _ := fetch(t, own+"/healthz", ""); code != 200 {
		t.Errorf("/healthz while draining: %d", code)
	}
}
