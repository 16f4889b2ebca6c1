//go:build unix

package e2e

import (
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// natsserver is a NATS server for relays. With the paths of a certificate, its key and an
// authority, it demands client certificates.
func natsserver() {
	opts := &server.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true}
	if len(os.Args) > 1 {
		config, err := server.GenTLSConfig(&server.TLSConfigOpts{CertFile: os.Args[1], KeyFile: os.Args[2], CaFile: os.Args[3], Verify: true})
		if err != nil {
			panic(err)
		}
		const timeout = 5 // seconds
		opts.TLSConfig, opts.TLS, opts.TLSVerify, opts.TLSTimeout = config, true, true, timeout
	}
	runNATS(opts)
}

// natscluster is one server of a NATS cluster, at ports 7100 and 7101 of its first argument.
// The other arguments are the addresses of all servers.
func natscluster() {
	const port, clusterPort = 7100, 7101
	opts := &server.Options{
		ServerName: os.Args[1], Host: os.Args[1], Port: port, NoLog: true, NoSigs: true,
		Cluster: server.ClusterOpts{Name: "fleet", Host: os.Args[1], Port: clusterPort, PingInterval: time.Second},
	}
	for _, addr := range os.Args[2:] {
		if addr != os.Args[1] {
			opts.Routes = append(opts.Routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("%s:%d", addr, clusterPort)})
		}
	}
	runNATS(opts)
}

// runNATS runs a NATS server, which prints its address once it accepts clients.
func runNATS(opts *server.Options) {
	s, err := server.NewServer(opts)
	if err != nil {
		panic(err)
	}
	go s.Start()
	if !s.ReadyForConnections(time.Minute) {
		panic("not ready")
	}
	fmt.Println(s.Addr())
	s.WaitForShutdown()
}
