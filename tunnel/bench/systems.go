package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
)

// system is a system under test: processes that forward connections from an address to
// the server.
type system struct {
	name    string
	secure  bool   // with TLS
	binary  string // path of wstun; empty for other systems
	perConn int    // open files per connection in one process

	// start starts the processes, which forward to tb.server, and returns the address
	// for the load.
	start func(ctx context.Context, tb *testbed) (entry string, err error)
}

// The control: two identical systems.
const (
	basePair    = "pair"
	controlPair = "pair2"
)

// systems returns all systems that are installed.
func systems(o *options) []*system {
	var all []*system
	for _, b := range o.wstun {
		all = append(all, wstunSystem(b[0], b[1], false), wstunSystem(b[0]+"-wss", b[1], true),
			wstunSystem(b[0]+"-trace", b[1], false, "--trace"), wstunSystem(b[0]+"-trace-messages", b[1], false, "--trace-messages"))
	}
	for _, name := range []string{basePair, controlPair} {
		all = append(all, &system{name: name, perConn: 2, start: ownPair("pair", "pair")})
	}
	all = append(all,
		&system{name: "pair-tls", secure: true, perConn: 2, start: startTLSPair},
		&system{name: "yamux", perConn: 1, start: ownPair("yamux-far", "yamux-near")},
	)
	return append(all, otherTunnels(o)...)
}

// wstunSystem returns the system wstun dial ▸ wstun serve --raw. With flags of a trace, dial
// traces into a file.
func wstunSystem(name, path string, secure bool, traceFlags ...string) *system {
	s := &system{name: name, secure: secure, binary: path, perConn: 1}
	s.start = func(ctx context.Context, tb *testbed) (string, error) {
		serve := []string{"serve", "--raw", "--upstream", tb.server, "--accept", "127.0.0.1:0", "--output", "json", "--log-level", "error"}
		dial := []string{"dial", "--listen", "127.0.0.1:0", "--output", "json", "--log-level", "error"}
		if secure {
			cert, key, err := tb.certificate()
			if err != nil {
				return "", err
			}
			serve = append(serve, "--cert", cert, "--key", key)
			dial = append(dial, "--cacert", cert)
		}
		far, err := tb.startPart("wstun serve", path, serve...)
		if err != nil {
			return "", err
		}
		listening, err := wstunEvent(ctx, far)
		if err != nil {
			return "", err
		}
		u, err := url.Parse(listening.URL)
		if err != nil {
			return "", err
		}
		if u.Host, err = tb.via(ctx, u.Host); err != nil {
			return "", err
		}
		if len(traceFlags) > 0 {
			to, err := tb.file("trace", "")
			if err != nil {
				return "", err
			}
			dial = append(append([]string{"-c", `exec "$0" "$@" 2>` + to, path}, dial[0]), append(traceFlags, dial[1:]...)...)
			path = "/bin/sh"
		}
		near, err := tb.startPart("wstun dial", path, append(dial, u.String())...)
		if err != nil {
			return "", err
		}
		listening, err = wstunEvent(ctx, near)
		return listening.Address, err
	}
	return s
}

// event is a line of the output of wstun --output json.
type event struct {
	Event   string
	Address string
	URL     string
}

func wstunEvent(ctx context.Context, p *process) (e event, err error) {
	line, err := p.line(ctx)
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		return e, fmt.Errorf("%s: %q: %w", p.name, line, err)
	}
	return e, nil
}

// ownPair returns the start function of a system of two processes of this program.
func ownPair(far, near string) func(context.Context, *testbed) (string, error) {
	return func(ctx context.Context, tb *testbed) (string, error) {
		addr, err := tb.startOwnPart(ctx, far, tb.server)
		if err != nil {
			return "", err
		}
		if addr, err = tb.via(ctx, addr); err != nil {
			return "", err
		}
		return tb.startOwnPart(ctx, near, addr)
	}
}

// startTLSPair starts the pair with TLS between the two.
func startTLSPair(ctx context.Context, tb *testbed) (string, error) {
	cert, key, err := tb.certificate()
	if err != nil {
		return "", err
	}
	addr, err := tb.startOwnPart(ctx, "pair-tls-far", tb.server, cert, key)
	if err != nil {
		return "", err
	}
	if addr, err = tb.via(ctx, addr); err != nil {
		return "", err
	}
	return tb.startOwnPart(ctx, "pair-tls-near", addr, cert)
}
