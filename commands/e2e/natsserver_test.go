//go:build unix

package e2e

import (
	"fmt"
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
