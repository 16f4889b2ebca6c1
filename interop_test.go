//go:build unix

package main

import (
	"io"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/testdata"
)

// route is one way from a gRPC client to a gRPC server.
type route struct {
	name       string
	direct     bool     // without wstun: what fails here is not wstun's fault
	dialAccept bool     // wstun dial accepts the WebSocket, wstun serve dials it
	serve      []string // flags
}

var routes = []route{
	{name: "direct", direct: true},
	{name: "proxied"},
	{name: "raw", serve: []string{"--raw"}},
	{name: "proxied, dial accepts", dialAccept: true},
	{name: "raw, dial accepts", dialAccept: true, serve: []string{"--raw"}},
}

// open opens a tunnel to the server at upstream and returns the address for
// clients.
func (r route) open(t *testing.T, upstream string, flags ...string) string {
	t.Helper()
	if r.direct {
		return upstream
	}
	serve := append([]string{"serve", "--upstream", upstream}, append(flags, r.serve...)...)
	dial := []string{"dial", "--listen", "127.0.0.1:0"}
	const url, addr = `^ws://\S+$`, `^127\.0\.0\.1:\d+$`
	if r.dialAccept {
		d := startDaemon(t, "wstun", append(dial, "--accept", "127.0.0.1:0")...)
		startDaemon(t, "wstun", append(serve, d.line(t, url))...)
		return d.line(t, addr)
	}
	s := startDaemon(t, "wstun", append(serve, "--accept", "127.0.0.1:0")...)
	return startDaemon(t, "wstun", append(dial, s.line(t, url))...).line(t, addr)
}

// TestInterop runs gRPC's own interoperability programs through the tunnel.
// Without TLS and Google's cloud they have no more cases than these, but for
// pick_first_unary: the server lacks what it asks for.
func TestInterop(t *testing.T) {
	t.Parallel()
	cases := []string{
		"empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream",
		"timeout_on_sleeping_server", "cancel_after_begin", "cancel_after_first_response",
		"status_code_and_message", "special_status_message", "custom_metadata",
		"unimplemented_method", "unimplemented_service", "orca_per_rpc", "orca_oob", "rpc_soak", "channel_soak",
	}
	client := interopTool(t, "client")
	for _, r := range routes {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			addr := r.open(t, startInteropServer(t)) // it has one client for orca_oob at a time
			for _, name := range cases {
				t.Run(name, func(t *testing.T) {
					runInteropClient(t, client, addr, name)
				})
			}
		})
	}
}

// TestInteropTLS has TLS from serve to the upstream, and with --raw from the
// client to the upstream.
func TestInteropTLS(t *testing.T) {
	t.Parallel()
	const serverName = "foo.test.google.fr" // of gRPC's test certificate
	client := interopTool(t, "client")
	upstream := startInteropServer(t, "-use_tls")
	toUpstream := []string{"--upstream-tls", "--upstream-cacert", testdata.Path("ca.pem"), "--upstream-servername", serverName}
	throughout := []string{"-use_tls", "-use_test_ca", "-server_host_override", serverName}
	for _, r := range routes {
		if !r.direct {
			t.Run("to the upstream, "+r.name, func(t *testing.T) {
				t.Parallel()
				runInteropClient(t, client, r.open(t, upstream, toUpstream...), "ping_pong")
			})
		}
		if r.direct || r.serve != nil {
			t.Run("throughout, "+r.name, func(t *testing.T) {
				t.Parallel()
				runInteropClient(t, client, r.open(t, upstream), "ping_pong", throughout...)
			})
		}
	}
}

// interopTool returns the path of one of the two programs.
func interopTool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.CommandContext(t.Context(), "go", "tool", "-n", "google.golang.org/grpc/interop/"+name).Output()
	if err != nil {
		t.Fatalf("go tool -n %s: %v", name, err)
	}
	return strings.TrimSpace(string(path))
}

func startInteropServer(t *testing.T, flags ...string) string {
	t.Helper()
	// It tells its port in its log only.
	server := []string{"GRPC_GO_LOG_SEVERITY_LEVEL=info", interopTool(t, "server"), "-port", "0"}
	port := startDaemon(t, "env", append(server, flags...)...).line(t, `interop server listening on .*:(\d+)$`)
	return "127.0.0.1:" + port
}

func runInteropClient(t *testing.T, client, addr, testCase string, flags ...string) {
	t.Helper()
	host, port, _ := strings.Cut(addr, ":")
	flags = append(flags, "-server_host", host, "-server_port", port, "-test_case", testCase)
	switch {
	case strings.HasSuffix(testCase, "_soak"): // as patient as the rest, on a busy machine
		flags = append(flags, "-soak_per_iteration_max_acceptable_latency_ms", "20000", "-soak_overall_timeout_seconds", "20")
	case strings.HasPrefix(testCase, "orca_"):
		flags = append(flags, `-service_config_json={"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}`)
	}
	d := startDaemon(t, client, flags...)
	select {
	case <-d.exited:
	case <-time.After(outputWait):
		t.Fatal("goes on")
	}
	if !d.cmd.ProcessState.Success() {
		t.Errorf("%v:\n%s", d.cmd.ProcessState, d.output())
	}
}

// startDaemon starts a program, which is killed when t ends.
func startDaemon(t *testing.T, prog string, args ...string) *daemon {
	t.Helper()
	cmd := exec.Command(prog, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	d := &daemon{cmd: cmd, changed: make(chan struct{}), exited: make(chan struct{})}
	var reading sync.WaitGroup
	for i, pipe := range []func() (io.ReadCloser, error){cmd.StdoutPipe, cmd.StderrPipe} {
		r, err := pipe()
		if err != nil {
			t.Fatal(err)
		}
		reading.Go(func() { d.read(&d.streams[i], r, io.Discard) })
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		reading.Wait()
		_ = cmd.Wait()
		close(d.exited)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-d.exited
		if t.Failed() {
			t.Logf("$ %s\n%s", strings.Join(cmd.Args, " "), d.output())
		}
	})
	return d
}

// line waits until the output has a match, at any place, and returns its last
// group.
func (d *daemon) line(t *testing.T, pattern string) string {
	t.Helper()
	re := regexp.MustCompile("(?m)" + pattern)
	timeout := time.After(outputWait)
	for exited := d.exited; ; {
		d.mu.Lock()
		changed := d.changed
		d.mu.Unlock()
		if match := re.FindStringSubmatch(d.output()); match != nil {
			return match[len(match)-1]
		}
		if exited == nil {
			t.Fatalf("ended without a match for %s", re)
		}
		select {
		case <-changed:
		case <-exited:
			exited = nil // one last look
		case <-timeout:
			t.Fatalf("no match for %s", re)
		}
	}
}
