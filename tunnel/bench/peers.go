package main

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
)

// peers returns the other tunnels that are there.
func peers(o *options) []*system {
	var all []*system
	if path, err := exec.LookPath(o.chisel); err == nil {
		all = append(all, &system{name: "chisel", perConn: 1, start: startChisel(path)})
	}
	frps, err := exec.LookPath(o.frps)
	if err != nil {
		return all
	}
	frpc, err := exec.LookPath(o.frpc)
	if err != nil {
		return all
	}
	return append(all,
		&system{name: "frp", perConn: 1, start: startFRP(frps, frpc, false)},
		&system{name: "frp-tls", secure: true, perConn: 1, start: startFRP(frps, frpc, true)},
	)
}

// startChisel forwards a local port of the chisel client. What is between the
// two is SSH in a WebSocket.
func startChisel(path string) func(context.Context, *stage) (string, error) {
	return func(ctx context.Context, st *stage) (string, error) {
		serverAddr, serverPort, err := freePort(ctx)
		if err != nil {
			return "", err
		}
		if _, err := st.part("chisel server", path, "server", "--host", "127.0.0.1", "--port", serverPort); err != nil {
			return "", err
		}
		if err := st.awaitListener(ctx, serverAddr); err != nil {
			return "", err
		}
		addr, err := st.via(ctx, serverAddr)
		if err != nil {
			return "", err
		}
		entry, _, err := freePort(ctx)
		if err != nil {
			return "", err
		}
		_, err = st.part("chisel client", path, "client", "http://"+addr, entry+":"+st.server)
		return entry, err
	}
}

// startFRP publishes the server at a port of frps: unlike with the others, it
// is the process near the server that dials.
func startFRP(frps, frpc string, secure bool) func(context.Context, *stage) (string, error) {
	return func(ctx context.Context, st *stage) (string, error) {
		frpsAddr, frpsPort, err := freePort(ctx)
		if err != nil {
			return "", err
		}
		config, err := st.file("frps.toml", fmt.Sprintf("bindAddr = %q\nbindPort = %s\nlog.level = \"error\"\n", "127.0.0.1", frpsPort))
		if err != nil {
			return "", err
		}
		if _, err := st.part("frps", frps, "-c", config); err != nil {
			return "", err
		}
		if err := st.awaitListener(ctx, frpsAddr); err != nil {
			return "", err
		}
		addr, err := st.via(ctx, frpsAddr)
		if err != nil {
			return "", err
		}
		_, dialPort, err := splitPort(addr)
		if err != nil {
			return "", err
		}
		_, localPort, err := splitPort(st.server)
		if err != nil {
			return "", err
		}
		entry, entryPort, err := freePort(ctx)
		if err != nil {
			return "", err
		}
		config, err = st.file("frpc.toml", fmt.Sprintf(frpcConfig, dialPort, strconv.FormatBool(secure), localPort, entryPort))
		if err != nil {
			return "", err
		}
		_, err = st.part("frpc", frpc, "-c", config)
		return entry, err
	}
}

const frpcConfig = `serverAddr = "127.0.0.1"
serverPort = %s
log.level = "error"
transport.tls.enable = %s

[[proxies]]
name = "bench"
type = "tcp"
localIP = "127.0.0.1"
localPort = %s
remotePort = %s
`
