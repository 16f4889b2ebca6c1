package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/admin"
	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/monitor"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/escape"
)

func (p *program) statusCommand() *cli.Command {
	o := &statusOptions{}
	return &cli.Command{
		Name:      "status",
		Usage:     "print the sessions and open calls of running wstun processes",
		UsageText: "wstun status [flags]",
		Description: "Asks each wstun serve, dial, tap, relay and demo of this user, for root also those of systemd's units, or the\n" +
			"one that --attach means, for its sessions, its open calls, and why sessions have ended. They need no flags for\n" +
			"that.",
		Flags: append(o.attach.flags(),
			usage.String(&o.output, "output", "print as `FORMAT`: text, or json, an object a process", "text"),
			usage.Bool(&o.watch, "watch", "print the state again each second, until stopped", "w"),
			usage.OptionalDurationFlag(&o.untilReady, "until-ready", "wait until the processes are ready, for 30s or as in --until-ready=10s, and exit with status 4 if they aren't", 30*time.Second),
		),
		Action: action(p, o, p.status),
	}
}

// statusOptions are the values of the command line of wstun status.
type statusOptions struct {
	attach     attachOptions
	output     string
	watch      bool
	untilReady usage.OptionalDuration
}

func (o *statusOptions) parse(in *invocation) error {
	o.attach.secrets = in.secrets
	if o.attach.attach == "" {
		if err := in.given.Reject("--attach", "admin-token-file"); err != nil {
			return err
		}
	}
	if _, err := in.arguments(0); err != nil {
		return err
	}
	if o.watch && o.untilReady.Given {
		return usage.Errorf("both --watch and --until-ready")
	}
	return usage.OneOf("output", o.output, "text", "json")
}

// attachOptions are the values of the flags that choose running processes.
type attachOptions struct {
	attach, tokenFile string
	secrets           *escape.Secrets
}

func (o *attachOptions) flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "attach", Usage: "ask only the process `PID`, or the one with the --admin or --control address ADDR", Destination: &o.attach},
		usage.Path(&o.tokenFile, "admin-token-file", "the token for an --admin address is in `PATH`"),
	}
}

// clients returns a client for each process that is meant.
func (o *attachOptions) clients(ctx context.Context, p *program) ([]*admin.Client, error) {
	if o.attach == "" {
		return admin.Running(ctx), nil
	}
	token := ""
	if o.tokenFile != "" {
		get, err := endpoint.TokenFile("admin-token-file", o.tokenFile, o.secrets)
		if err != nil {
			return nil, err
		}
		logger, err := p.newLogger(&logOptions{level: "warn", format: "text"})
		if err != nil {
			return nil, err
		}
		token = get(logger)
	}
	return admin.Attach(ctx, o.attach, token)
}

// errNoneRunning says that there is no process to ask.
var errNoneRunning = &usage.Error{
	Err:    errors.New("no wstun serve, dial, tap or relay of this user is running"),
	Advice: "one with --control none, of another user, or in another container isn't found: give its --admin address with --attach",
}

func (p *program) status(ctx context.Context, o *statusOptions) error {
	p.pipes = true
	if o.untilReady.Given {
		return p.untilReady(ctx, o)
	}
	v := &statusView{p: p, json: o.output == "json"}
	if o.watch {
		return v.watch(ctx, o)
	}
	states, err := askAll(ctx, p, &o.attach)
	if printErr := v.print(states); printErr != nil {
		return printErr
	}
	return err
}

// askAll asks the processes that o means, all at the same time. Those that end meanwhile are left
// out, unless o names them. The error joins those of the processes that don't answer.
func askAll(ctx context.Context, p *program, o *attachOptions) ([]*monitor.Status, error) {
	clients, err := o.clients(ctx, p)
	if err != nil {
		return nil, err
	}
	states, errs := make([]*monitor.Status, len(clients)), make([]error, len(clients))
	var asking sync.WaitGroup
	for i, c := range clients {
		asking.Go(func() { states[i], errs[i] = c.Status(ctx) })
	}
	asking.Wait()
	states = slices.DeleteFunc(states, func(st *monitor.Status) bool { return st == nil })
	if o.attach == "" {
		errs = slices.DeleteFunc(errs, admin.IsGone)
	}
	err = errors.Join(errs...)
	if len(states) == 0 && err == nil {
		err = &noneRunningError{errNoneRunning}
	}
	return states, err
}

// noneRunningError is errNoneRunning as a runtime error.
type noneRunningError struct{ err *usage.Error }

func (e *noneRunningError) Error() string { return e.err.Error() }

// Hint returns advice.
func (e *noneRunningError) Hint() string { return e.err.Advice }

// untilReady waits until the processes are ready.
func (p *program) untilReady(ctx context.Context, o *statusOptions) error {
	ctx, cancel := context.WithTimeout(ctx, o.untilReady.Value)
	defer cancel()
	const interval = 50 * time.Millisecond
	tick := time.NewTicker(interval)
	defer tick.Stop()
	reason := errors.New("no answer")
	for {
		states, err := askAll(ctx, p, &o.attach)
		if isRefusal(err) || errors.As(err, new(*usage.Error)) {
			return err
		}
		if ctx.Err() == nil {
			reason = notReady(states, err)
			if reason == nil {
				return nil
			}
		}
		if hasEnded(err) {
			return fmt.Errorf("%w: %w", tunnel.ErrNoSession, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("not ready within --until-ready %v: %w: %w", o.untilReady.Value, tunnel.ErrNoSession, reason)
			}
			return context.Cause(ctx)
		}
	}
}

// isRefusal reports whether a process has refused the token.
func isRefusal(err error) bool {
	r, ok := errors.AsType[interface {
		error
		Refused() bool
	}](err)
	return ok && r.Refused()
}

// hasEnded reports whether the process to ask has ended.
func hasEnded(err error) bool {
	e, ok := errors.AsType[interface {
		error
		Ended() bool
	}](err)
	return ok && e.Ended()
}

// notReady returns why not all processes are ready, or nil.
func notReady(states []*monitor.Status, err error) error {
	if err != nil {
		return err
	}
	for _, st := range states {
		if why := st.Unready(); why != "" {
			return fmt.Errorf("wstun %s (%d): %s", st.Command, st.PID, why)
		}
	}
	return nil
}

// statusView prints states.
type statusView struct {
	p    *program
	json bool
}

func (v *statusView) print(states []*monitor.Status) error {
	if !v.json {
		_, err := io.WriteString(unmasked(v.p.stdout), statusText(states, v.p.colors(v.p.stdout)))
		return err
	}
	for _, st := range states {
		line, err := json.Marshal(st)
		if err != nil {
			return err
		}
		fmt.Fprintf(v.p.stdout, "%s\n", line)
	}
	return nil
}

// watch prints the states each second: on a terminal in place of the ones before.
func (v *statusView) watch(ctx context.Context, o *statusOptions) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	screen := isTerminal(v.p.stdout) && !v.json
	for first := true; ; first = false {
		states, err := askAll(ctx, v.p, &o.attach)
		if ctx.Err() != nil {
			return nil
		}
		if first && err != nil && o.attach.attach != "" {
			return err // later, the process may be about to come back
		}
		if screen {
			_, _ = io.WriteString(unmasked(v.p.stdout), "\x1b[H\x1b[2J")
		}
		if err := v.print(states); err != nil {
			return err
		}
		if err != nil && !v.json {
			fmt.Fprintln(v.p.stdout, escape.Text(err.Error()))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
