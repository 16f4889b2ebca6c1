//go:build unix

package e2e

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestInteropInner runs the interoperability programs and grpcurl with TLS from engineer to
// Worker, whose relays are different ones: the engineer's sends it on to the Worker's.
func TestInteropInner(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeCertificates(dir, time.Hour, func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	})
	file := func(name string) string { return filepath.Join(dir, name) }
	nats := startDaemon(t, "natsserver").find(t, `^(127.*)$`)
	relay := func(id string) *process {
		r := startDaemon(t, "wstun", "relay", "--accept", "127.0.0.1:0", "--id", id, "--directory", "nats://"+nats, "--drain-pace", "0")
		r.find(t, `(directory connected)`)
		return r
	}
	workers, engineers := relay("r1"), relay("r2")
	connect := func(t *testing.T, name string, serve ...string) (addr string) {
		t.Helper()
		startDaemon(t, "wstun", append([]string{
			"serve", "--name", name, "--inner-cert", file(name + ".pem"), "--inner-key", file(name + ".key"), "--inner-cacert", file("other.pem"),
		}, append(serve, workers.find(t, `^(ws://\S+)$`))...)...)
		workers.find(t, `worker connected.*name=(`+name+`)`)
		return startDaemon(t, "wstun", "dial", "--listen", "127.0.0.1:0", "--to", name, "--inner-tls", "--inner-cacert", file("ca.pem"),
			"--inner-cert", file("otherclient.pem"), "--inner-key", file("otherclient.key"), engineers.find(t, `^(ws://\S+)$`)).find(t, `^(127.*)$`)
	}
	client := interopTool(t, "client")
	for name, flags := range map[string][]string{"w-1": {}, "w-2": {"--raw"}} {
		t.Run(strings.Join(append([]string{"interop"}, flags...), " "), func(t *testing.T) {
			t.Parallel()
			addr := connect(t, name, append(flags, "--upstream", startInteropServer(t))...)
			for _, test := range interopCases {
				t.Run(test, func(t *testing.T) { runInteropClient(t, client, addr, test) })
			}
		})
	}
	t.Run("grpcurl", func(t *testing.T) {
		t.Parallel()
		addr := connect(t, "client")
		for args, want := range map[string]string{
			addr + " list":                       "wstun.demo.v1.Hub\n",
			addr + " describe wstun.demo.v1.Hub": "rpc Echo",
			`-d '{"text":"sealed"}' ` + addr + " wstun.demo.v1.Hub/Echo": `"text": "sealed"`,
		} {
			if out := runCommand(t, "grpcurl -plaintext "+args); !strings.Contains(out, want) {
				t.Errorf("grpcurl %s = %q, want %s", args, out, want)
			}
		}
	})
}
