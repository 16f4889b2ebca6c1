//go:build unix

package e2e

import (
	"os/exec"
	"strings"
	"testing"

	"google.golang.org/grpc/testdata"
)

// route is a connection from a gRPC client to a gRPC server.
type route struct {
	name       string
	direct     bool     // without wstun: a failure here isn't wstun's
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
		startDaemon(t, "wstun", append(serve, d.find(t, url))...)
		return d.find(t, addr)
	}
	s := startDaemon(t, "wstun", append(serve, "--accept", "127.0.0.1:0")...)
	return startDaemon(t, "wstun", append(dial, s.find(t, url))...).find(t, addr)
}

// interopCases are all cases of gRPC's own interoperability programs that need neither TLS nor
// Google's cloud, except pick_first_unary, which the server doesn't support.
var interopCases = []string{
	"empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream",
	"timeout_on_sleeping_server", "cancel_after_begin", "cancel_after_first_response",
	"status_code_and_message", "special_status_message", "custom_metadata",
	"unimplemented_method", "unimplemented_service", "orca_per_rpc", "orca_oob", "rpc_soak", "channel_soak",
}

// TestInterop runs gRPC's own interoperability programs through the tunnel.
func TestInterop(t *testing.T) {
	t.Parallel()
	client := interopTool(t, "client")
	for _, r := range routes {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			addr := r.open(t, startInteropServer(t)) // of its own: a server takes one client for orca_oob at a time
			for _, name := range interopCases {
				t.Run(name, func(t *testing.T) {
					runInteropClient(t, client, addr, name)
				})
			}
		})
	}
}

// TestInteropTLS uses TLS from serve to the upstream, and with --raw from the
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
	// The server writes its port to the log only.
	server := []string{"GRPC_GO_LOG_SEVERITY_LEVEL=info", interopTool(t, "server"), "-port", "0"}
	port := startDaemon(t, "env", append(server, flags...)...).find(t, `interop server listening on .*:(\d+)$`)
	return "127.0.0.1:" + port
}

func runInteropClient(t *testing.T, client, addr, testCase string, flags ...string) {
	t.Helper()
	host, port, _ := strings.Cut(addr, ":")
	flags = append(flags, "-server_host", host, "-server_port", port, "-test_case", testCase)
	switch {
	case strings.HasSuffix(testCase, "_soak"): // time for a busy machine
		flags = append(flags, "-soak_per_iteration_max_acceptable_latency_ms", "20000", "-soak_overall_timeout_seconds", "20")
	case strings.HasPrefix(testCase, "orca_"):
		flags = append(flags, `-service_config_json={"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}`)
	}
	tries := 1
	if testCase == "cancel_after_begin" {
		tries = 3 // the client races with itself: its response may arrive before its cancellation has an effect
	}
	for {
		d := startDaemon(t, client, flags...)
		status, err := d.exitStatus()
		if tries--; err == nil && status == 0 {
			return
		}
		if tries == 0 {
			t.Errorf("status %d, %v:\n%s", status, err, d)
			return
		}
	}
}
