package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"

	"github.com/nats-io/nats-server/v2/server"
)

// fleetSystem returns a system in which wstun dial reaches wstun serve through relays: one,
// or two that find each other through a NATS server. The bytes of the latter take an extra hop.
func fleetSystem(name, path string, relays int) *system {
	s := &system{name: name, binary: path, perConn: 1}
	s.start = func(ctx context.Context, tb *testbed) (string, error) {
		flags := []string{"relay", "--accept", "127.0.0.1:0", "--output", "json", "--log-level", "error"}
		if relays > 1 {
			directory, err := tb.startOwn(ctx, "nats")
			if err != nil {
				return "", err
			}
			flags = append(flags, "--directory", "nats://"+directory, "--id")
		}
		var first, last string // the URLs of the dialing and of the serving side
		for i := range relays {
			args := flags
			if relays > 1 {
				args = append(args[:len(flags):len(flags)], fmt.Sprint("r", i))
			}
			var err error
			if last, err = tb.startRelay(ctx, path, args); err != nil {
				return "", err
			}
			if i == 0 {
				first = last
			}
		}
		if _, err := tb.startPart("wstun serve", path, "serve", "--raw", "--upstream", tb.server, "--name", "w", "--log-level", "error", last); err != nil {
			return "", err
		}
		near, err := tb.startPart("wstun dial", path, "dial", "--listen", "127.0.0.1:0", "--to", "w", "--log-level", "error", first)
		if err != nil {
			return "", err
		}
		return near.line(ctx)
	}
	return s
}

// startRelay starts a relay, and returns the URL for one session through the testbed's link.
func (tb *testbed) startRelay(ctx context.Context, path string, args []string) (string, error) {
	p, err := tb.startPart("wstun relay", path, args...)
	if err != nil {
		return "", err
	}
	listening, err := wstunEvent(ctx, p)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(listening.URL)
	if err != nil {
		return "", err
	}
	u.Host, err = tb.via(ctx, u.Host)
	return u.String(), err
}

// runNATS runs a NATS server.
func runNATS(ctx context.Context, _ []string, stdin io.Reader, stdout io.Writer) error {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true})
	if err != nil {
		return err
	}
	s.Start()
	defer s.Shutdown()
	if !s.ReadyForConnections(startLimit) {
		return errors.New("the NATS server isn't ready")
	}
	fmt.Fprintln(stdout, s.Addr())
	_, err = io.Copy(io.Discard, stdin)
	return err
}
