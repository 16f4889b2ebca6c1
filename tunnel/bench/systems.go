package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
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
		for _, v := range wstunVariants {
			all = append(all, wstunSystem(b[0], b[1], v))
		}
		all = append(all, fleetSystem(b[0]+"-relay", b[1], 1), fleetSystem(b[0]+"-hop", b[1], 2))
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

// wstunVariant is a kind of the system wstun dial ▸ wstun serve --raw.
type wstunVariant struct {
	suffix string // of the name
	secure bool
	trace  string // flag of dial, whose trace goes to a file
	record bool   // dial records
	proxy  bool   // with a TCP proxy between the two
	tap    bool   // with wstun tap between the two
}

var wstunVariants = []wstunVariant{
	{},
	{suffix: "-wss", secure: true},
	{suffix: "-trace", trace: "--trace"},
	{suffix: "-trace-messages", trace: "--trace-messages"},
	{suffix: "-record", record: true},
	{suffix: "-proxy", proxy: true},
	{suffix: "-tap", tap: true},
}

func wstunSystem(name, path string, v wstunVariant) *system {
	s := &system{name: name + v.suffix, secure: v.secure, binary: path, perConn: 1}
	s.start = func(ctx context.Context, tb *testbed) (string, error) {
		serve := []string{"serve", "--raw", "--upstream", tb.server, "--accept", "127.0.0.1:0", "--output", "json", "--log-level", "error"}
		dial := []string{"dial", "--listen", "127.0.0.1:0", "--log-level", "error"} // prints its address, and the trace as lines of text
		if v.secure {
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
		if u.Host, err = v.between(ctx, tb, path, u.Host); err != nil {
			return "", err
		}
		if u.Host, err = tb.via(ctx, u.Host); err != nil {
			return "", err
		}
		if v.record {
			file, err := tb.file("recording", "")
			if err != nil {
				return "", err
			}
			dial = append(dial, "--record", file, "--record-max", "100MiB", "--record-keep", "1")
		}
		dial, path := append(dial, u.String()), path
		if v.trace != "" {
			to, err := tb.file("trace", "")
			if err != nil {
				return "", err
			}
			dial = slices.Concat([]string{"-c", `exec "$0" "$@" 2>` + to, path, "dial", v.trace}, dial[1:])
			path = "/bin/sh"
		}
		near, err := tb.startPart("wstun dial", path, dial...)
		if err != nil {
			return "", err
		}
		return near.line(ctx)
	}
	return s
}

// between starts the part between the two, if there is one, and returns its host, or that of
// the far one.
func (v *wstunVariant) between(ctx context.Context, tb *testbed, path, host string) (string, error) {
	switch {
	case v.proxy:
		return tb.startOwnPart(ctx, "pair", host)
	case !v.tap:
		return host, nil
	}
	to, err := tb.file("trace", "")
	if err != nil {
		return "", err
	}
	accept, _, err := freePort(ctx)
	if err != nil {
		return "", err
	}
	_, err = tb.startPart("wstun tap", "/bin/sh", "-c", `exec "$0" "$@" >`+to, path, "tap", "--accept", accept, "--log-level", "error", "ws://"+host+"/")
	if err != nil {
		return "", err
	}
	return accept, tb.awaitListener(ctx, accept)
}

// event is a line of the output of wstun --output json.
type event struct {
	Event string
	URL   string
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
