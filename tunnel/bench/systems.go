package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
)

// system is what is measured: processes that lead from an address to the
// server's.
type system struct {
	name    string
	secure  bool   // encrypts
	binary  string // of wstun
	perConn int    // how many open files a connection costs a process

	// start starts the system's processes in front of st.server and returns the
	// address for the load.
	start func(ctx context.Context, st *stage) (entry string, err error)
}

// The control: two systems that are the same.
const (
	basePair    = "pair"
	controlPair = "pair2"
)

// systems returns all that can be had.
func systems(o *options) []*system {
	var all []*system
	for _, b := range o.wstun {
		all = append(all, wstunSystem(b[0], b[1], false), wstunSystem(b[0]+"-wss", b[1], true))
	}
	for _, name := range []string{basePair, controlPair} {
		all = append(all, &system{name: name, perConn: 2, start: twoSelves("pair", "pair")})
	}
	all = append(all,
		&system{name: "pair-tls", secure: true, perConn: 2, start: startTLSPair},
		&system{name: "yamux", perConn: 1, start: twoSelves("yamux-far", "yamux-near")},
	)
	return append(all, peers(o)...)
}

// wstunSystem is wstun dial ▸ wstun serve --raw.
func wstunSystem(name, path string, secure bool) *system {
	s := &system{name: name, secure: secure, binary: path, perConn: 1}
	s.start = func(ctx context.Context, st *stage) (string, error) {
		serve := []string{"serve", "--raw", "--upstream", st.server, "--accept", "127.0.0.1:0", "--output", "json", "--log-level", "error"}
		dial := []string{"dial", "--listen", "127.0.0.1:0", "--output", "json", "--log-level", "error"}
		if secure {
			cert, key, err := st.certificate()
			if err != nil {
				return "", err
			}
			serve = append(serve, "--cert", cert, "--key", key)
			dial = append(dial, "--cacert", cert)
		}
		far, err := st.part("wstun serve", path, serve...)
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
		if u.Host, err = st.via(ctx, u.Host); err != nil {
			return "", err
		}
		near, err := st.part("wstun dial", path, append(dial, u.String())...)
		if err != nil {
			return "", err
		}
		listening, err = wstunEvent(ctx, near)
		return listening.Address, err
	}
	return s
}

// event is a line of wstun --output json.
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

// twoSelves is a system of two processes of this program.
func twoSelves(far, near string) func(context.Context, *stage) (string, error) {
	return func(ctx context.Context, st *stage) (string, error) {
		addr, err := st.selfPart(ctx, far, st.server)
		if err != nil {
			return "", err
		}
		if addr, err = st.via(ctx, addr); err != nil {
			return "", err
		}
		return st.selfPart(ctx, near, addr)
	}
}

// startTLSPair is the pair with TLS between the two.
func startTLSPair(ctx context.Context, st *stage) (string, error) {
	cert, key, err := st.certificate()
	if err != nil {
		return "", err
	}
	addr, err := st.selfPart(ctx, "pair-tls-far", st.server, cert, key)
	if err != nil {
		return "", err
	}
	if addr, err = st.via(ctx, addr); err != nil {
		return "", err
	}
	return st.selfPart(ctx, "pair-tls-near", addr, cert)
}
