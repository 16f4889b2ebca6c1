//go:build unix

package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// fetch returns the status and the body of the answer to a GET with lines of a header, one of
// which may be the Host.
func fetch(t *testing.T, url string, header ...string) (code int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range header {
		name, value, ok := strings.Cut(line, ": ")
		if !ok {
			continue
		}
		if r.Header.Set(name, value); name == "Host" {
			r.Host = value
		}
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	serve := startDaemon(t, "wstun", "serve", "--admin", "127.0.0.1:0")
	admin, token := serve.find(t, `admin="(http://127\.0\.0\.1:\d+)/#`), serve.find(t, `admin=\S+#token=(\w+)`)
	auth := "Authorization: Bearer " + token
	startDaemon(t, "wstun", "dial", serve.find(t, `^(ws://.*)$`)).find(t, `msg=ready`)

	for _, test := range []struct {
		path, header, want string
		code               int
	}{
		{"/healthz", "", "ok\n", 200},
		{"/readyz", "", "ok\n", 200},
		{"/metrics", "", "wstun_sessions 1\n", 200},
		{"/api/v1/status", "", "token", 401},
		{"/api/v1/status", auth, `"command":"serve"`, 200},
		{"/api/v1/sessions", auth, `"remote":"127.0.0.1:`, 200},
		{"/debug/pprof/", "", "token", 401},
		{"/debug/pprof/goroutine?debug=1", auth, "goroutine profile", 200},
		{"/debug/pprof/cmdline", auth, "secrets", 403},
		{"/nothing", auth, "not found", 404},
		{"/healthz", "Host: evil.example", "Host", 421},
		{"/api/v1/reconnect", auth, "Method Not Allowed", 405},
	} {
		if code, body := fetch(t, admin+test.path, test.header); code != test.code || !strings.Contains(body, test.want) {
			t.Errorf("%s with %q: %d %.200s, want %d %s", test.path, test.header, code, body, test.code, test.want)
		}
	}
	if out := runCommand(t, "wstun status --attach '"+admin+"/#token="+token+"'"); !strings.Contains(out, "the demo Hub") {
		t.Errorf("status --attach:\n%s", out)
	}
}

// The side that dials is ready while a session is up. The side that accepts is ready from the
// start, so that a load balancer that only connects ready ones can make the first session.
func TestReadyz(t *testing.T) {
	t.Parallel()
	adminOf := func(p *process) string { return p.find(t, `admin="?(http://127\.0\.0\.1:\d+)`) }
	until := func(url string, want int) {
		t.Helper()
		tunneltest.Eventually(t, fmt.Sprint(url, " answers with ", want), func() bool { // as a kubelet probes
			code, _ := fetch(t, url+"/readyz")
			return code == want
		})
	}
	serve := startDaemon(t, "wstun", "serve", "--admin", "127.0.0.1:0", "--drain-timeout", "5s")
	url := serve.find(t, `^(ws://.*)$`)
	until(adminOf(serve), 200)
	for range 3 {
		dial := startDaemon(t, "wstun", "dial", "--admin", "127.0.0.1:0", url)
		until(adminOf(dial), 200)
		dial.kill()
		until(adminOf(serve), 200)
	}
	dial := startDaemon(t, "wstun", "dial", "--admin", "127.0.0.1:0", "--max-retry-interval", "200ms", url)
	until(adminOf(dial), 200)
	serve.kill()
	until(adminOf(dial), 503)
	startDaemon(t, "wstun", "serve", "--accept", strings.TrimSuffix(strings.TrimPrefix(url, "ws://"), "/"))
	until(adminOf(dial), 200)
}

// Scrapes under load are well-formed, and counters agree with the calls.
func TestMetricsUnderLoad(t *testing.T) {
	t.Parallel()
	dial := startDaemon(t, "wstun", "dial", "--admin", "127.0.0.1:0", startDaemon(t, "wstun", "serve").find(t, `^(ws://.*)$`))
	addr, admin := dial.find(t, `^(127\.0\.0\.1:\d+)$`), dial.find(t, `admin="?(http://127\.0\.0\.1:\d+)`)
	load := startDaemon(t, "load", addr)
	load.find(t, `(loading)`)
	count := func() (n int) {
		code, text := fetch(t, admin+"/metrics")
		m := regexp.MustCompile(`(?m)^wstun_rpcs_total\{code="NOT_FOUND"\} (\S+)$`).FindStringSubmatch(text)
		if code != http.StatusOK || m == nil {
			t.Fatalf("%d\n%.2000s", code, text)
		}
		f, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		return int(f)
	}
	last := 0
	for range 20 {
		if n := count(); n < last {
			t.Fatalf("%d calls after %d", n, last)
		} else {
			last = n
		}
	}
	if err := load.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	made, err := strconv.Atoi(load.find(t, `(\d+) calls`))
	if err != nil {
		t.Fatal(err)
	}
	if n := count(); n != made {
		t.Errorf("%d calls counted, %d made", n, made)
	}
}

// Other users can't ask a process.
func TestControlOfOtherUsers(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("the rights to be another user are missing")
	}
	dir, err := os.MkdirTemp("", "wstun-control") //nolint:usetesting // the other user must be able to enter it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	wstun, err := exec.LookPath("wstun")
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(wstun)
	if err != nil {
		t.Fatal(err)
	}
	public := filepath.Join(dir, "wstun")
	if err := os.WriteFile(public, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "control")
	startDaemon(t, "wstun", "serve", "--control", "unix:"+socket).find(t, `msg=ready`)
	if out := runCommand(t, "wstun status --attach unix:"+socket); !strings.Contains(out, "wstun serve") {
		t.Fatalf("its own user: %s", out)
	}
	const nobody = 65534
	cmd := exec.CommandContext(t.Context(), public, "status", "--attach", "unix:"+socket)
	cmd.Dir, cmd.Env = dir, []string{"WSTUN_CONFIG=none", "GORACE=atexit_sleep_ms=0"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "permission denied") {
		t.Errorf("another user: %v, %s", err, out)
	}
}

// cmdPage is: page URL PATH [REGEXP|JSON]. It prints the answer of the page's API at PATH: to a
// POST of JSON, or, once it matches, to a GET.
func cmdPage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: page URL PATH [REGEXP|JSON]")
	}
	base, token, _ := strings.Cut(args[0], "#token=")
	want, method, body := regexp.MustCompile(""), http.MethodGet, ""
	if len(args) == 3 {
		if strings.HasPrefix(args[2], "{") {
			method, body = http.MethodPost, args[2]
		} else {
			want = regexp.MustCompile(args[2])
		}
	}
	for deadline := time.Now().Add(outputWait); ; {
		r, err := http.NewRequestWithContext(context.Background(), method, base+"api/v1/"+args[1], strings.NewReader(body))
		ts.Check(err)
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", "application/json")
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
		ts.Check(err)
		answer, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		ts.Check(err)
		if want.Match(answer) || time.Now().After(deadline) {
			fmt.Fprintf(ts.Stdout(), "%s\n%s\n", resp.Status, answer)
			return
		}
	}
}
