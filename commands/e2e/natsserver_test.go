//go:build unix

package e2e

import (
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// natsserver is one server of a NATS cluster, at ports 7100 and 7101 of its first argument.
// The other arguments are the addresses of all servers. It prints when it accepts clients.
func natsserver() {
	const port, clusterPort = 7100, 7101
	opts := &server.Options{
		ServerName: os.Args[1], Host: os.Args[1], Port: port, NoLog: true, NoSigs: true,
		PingInterval: time.Second, MaxPingsOut: 2,
		Cluster: server.ClusterOpts{Name: "fleet", Host: os.Args[1], Port: clusterPort, PingInterval: time.Second},
	}
	for _, addr := range os.Args[2:] {
		if addr != os.Args[1] {
			opts.Routes = append(opts.Routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("%s:%d", addr, clusterPort)})
		}
	}
	s, err := server.NewServer(opts)
	if err != nil {
		panic(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		panic("no connections")
	}
	fmt.Println("listening")
	s.WaitForShutdown()
}
