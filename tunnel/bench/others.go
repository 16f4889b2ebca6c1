package main

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
)

// otherTunnels returns the other tunnels that are installed.
func otherTunnels(o *options) []*system {
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

// startChisel starts a chisel server, and a client that forwards a local port. They
// speak SSH on a WebSocket.
func startChisel(path string) func(context.Context, *testbed) (string, error) {
	return func(ctx context.Context, tb *testbed) (string, error) {
		serverAddr, serverPort, err := freePort(ctx)
		if err != nil {
			return "", err
		}
		if _, err := tb.startPart("chisel server", path, "server", "--host", "127.0.0.1", "--port", serverPort); err != nil {
			return "", err
		}
		if err := tb.awaitListener(ctx, serverAddr); err != nil {
			return "", err
		}
		addr, err := tb.via(ctx, serverAddr)
		if err != nil {
			return "", err
		}
		entry, _, err := freePort(ctx)
		if err != nil {
			return "", err
		}
		_, err = tb.startPart("chisel client", path, "client", "http://"+addr, entry+":"+tb.server)
		return entry, err
	}
}

// startFRP starts frps, and frpc, which publishes the server at a port of frps. Unlike in
// the other systems, the far process dials the near one.
func startFRP(frps, frpc string, secure bool) func(context.Context, *testbed) (string, error) {
	return func(ctx context.Context, tb *testbed) (string, error) {
		frpsAddr, frpsPort, err := freePort(ctx)
		if err != nil {
			return "", err
		}
		config, err := tb.file("frps.toml", fmt.Sprintf("bindAddr = %q\nbindPort = %s\nlog.level = \"error\"\n", "127.0.0.1", frpsPort))
		if err != nil {
			return "", err
		}
		if _, err := tb.startPart("frps", frps, "-c", config); err != nil {
			return "", err
		}
		if err := tb.awaitListener(ctx, frpsAddr); err != nil {
			return "", err
		}
		addr, err := tb.via(ctx, frpsAddr)
		if err != nil {
			return "", err
		}
		_, dialPort, err := splitPort(addr)
		if err != nil {
			return "", err
		}
		_, localPort, err := splitPort(tb.server)
		if err != nil {
			return "", err
		}
		entry, entryPort, err := freePort(ctx)
		if err != nil {
			return "", err
		}
		config, err = tb.file("frpc.toml", fmt.Sprintf(frpcConfig, dialPort, strconv.FormatBool(secure), localPort, entryPort))
		if err != nil {
			return "", err
		}
		_, err = tb.startPart("frpc", frpc, "-c", config)
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
