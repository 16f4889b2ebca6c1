package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/wstun/wstun/commands/backend"
	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/forward"
	"github.com/wstun/wstun/tunnel/limit"
	"github.com/wstun/wstun/tunnel/wsmux"
)

func (p *program) demoCommand() *cli.Command {
	o := &demoOptions{}
	return &cli.Command{
		Name:      "demo",
		Usage:     "a Hub, a Worker and a tunnel in one process, to try it out",
		UsageText: "wstun demo [flags]",
		Description: "Runs serve and dial on loopback, calls through them, prints grpcurl commands to try, and\n" +
			"stays up until stopped. With --relay, three workers and an engineer meet at a relay.",
		Flags: []cli.Flag{
			usage.String(&o.listen, "listen", "listen for gRPC clients at `ADDR`", "127.0.0.1:0"),
			usage.Bool(&o.once, "once", "end after the calls"),
			usage.Bool(&o.relay, "relay", "run a relay with three workers, and an engineer who reaches one of them"),
		},
		Action: action(p, o, p.demo),
	}
}

// demoOptions are the values of the command line of wstun demo.
type demoOptions struct {
	listen string
	once   bool
	relay  bool
}

func (o *demoOptions) parse(in *invocation) error {
	_, err := in.arguments(0)
	return err
}

func (p *program) demo(ctx context.Context, o *demoOptions) error {
	websockets, err := endpoint.Listen(ctx, "--accept", "127.0.0.1:0")
	if err != nil {
		return err
	}
	local, err := endpoint.Listen(ctx, "--listen", o.listen)
	if err != nil {
		_ = websockets.Close()
		return err
	}
	url := "ws://" + endpoint.Addr(websockets) + "/"
	if o.relay {
		return p.demoRelay(ctx, o, websockets, local, url)
	}

	// The Hub's side: accepts the WebSocket, serves gRPC.
	hub := backend.NewDemo(limit.New(nil)) //nolint:contextcheck // making descriptors isn't interrupted
	hubSessions := &tunnel.Sessions{}
	hubSessions.Subscribe(tunnel.Subscriber{Up: hub.ServeStreams})
	acceptor := tunnel.NewAcceptor(hubSessions, tunnel.AcceptOptions{
		LoopbackHost: true,
		Session:      tunnel.SessionOptions{Role: wsmux.Server},
	})
	// The Worker's side: dials the WebSocket, calls gRPC.
	workerSessions := &tunnel.Sessions{}
	forwarder := &forward.Forwarder{Sessions: workerSessions}
	connector := &tunnel.Connector{URL: url, Sessions: workerSessions, MaxRetries: -1}

	running, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { _ = acceptor.Serve(websockets) })
	wg.Go(func() { _ = forwarder.Serve(local) }) //nolint:contextcheck // Shutdown ends it
	wg.Go(func() { _ = connector.Run(running) })

	fmt.Fprintf(p.stdout, "Hub at %s, gRPC through the tunnel at %s\n", url, endpoint.Addr(local))
	err = p.runDemo(ctx, o, local, nil)
	stop()
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err = errors.Join(err, forwarder.Shutdown(ending), workerSessions.Shutdown(ending),
		acceptor.Shutdown(ending), hub.Shutdown(ending, hubSessions))
	wg.Wait()
	return err
}

// runDemo calls the Hub through the tunnel, prints more, and waits until ctx ends.
func (p *program) runDemo(ctx context.Context, o *demoOptions, local net.Listener, more func()) error {
	err := p.showDemo(ctx, local)
	if err == nil && more != nil {
		more()
	}
	if err == nil && !o.once {
		fmt.Fprint(p.stdout, "\nThe tunnel stays up until Ctrl-C.\n")
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		err = nil // stopped
	}
	return err
}

// showDemo calls the Hub through the tunnel and prints the responses.
func (p *program) showDemo(ctx context.Context, local net.Listener) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	target := endpoint.Addr(local)
	if local.Addr().Network() == "tcp" {
		target = "passthrough:///" + target
	}
	cc, err := grpc.NewClient(target, wsmux.ClientOptions(insecure.NewCredentials(), nil)...)
	if err != nil {
		return err
	}
	defer cc.Close()

	services, err := reflection.FromServer(cc, nil).Services(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "\nlist\n  %s\n", strings.Join(services, "\n  "))

	hub := demo.NewHubClient(cc)
	watch, err := hub.WatchKeys(ctx, &demo.WatchKeysRequest{MaxEvents: 2})
	if err != nil {
		return fmt.Errorf("watch keys: %w", err)
	}
	fmt.Fprint(p.stdout, "\nWatchKeys, a stream that starts with a snapshot\n")
	for events := 0; ; events++ {
		event, err := watch.Recv()
		if errors.Is(err, io.EOF) {
			break // after the last event
		}
		if err != nil {
			return fmt.Errorf("watch keys: %w", err)
		}
		fmt.Fprintf(p.stdout, "  event: %s\n", describeEvent(event))
		switch events {
		case 0:
			key, err := hub.CreateKey(ctx, &demo.CreateKeyRequest{Name: "my-worker"})
			if err != nil {
				return fmt.Errorf("create key: %w", err)
			}
			fmt.Fprintf(p.stdout, "  CreateKey: name %q, secret of %d characters\n", key.GetName(), len(key.GetSecret()))
		case 1:
			if _, err := hub.DeleteKey(ctx, &demo.DeleteKeyRequest{Name: "my-worker"}); err != nil {
				return fmt.Errorf("delete key: %w", err)
			}
			fmt.Fprint(p.stdout, "  DeleteKey: done\n")
		}
	}
	p.printExamples(local)
	return nil
}

func describeEvent(e *demo.KeyEvent) string {
	switch e := e.GetEvent().(type) {
	case *demo.KeyEvent_Snapshot:
		return fmt.Sprintf("snapshot of %d keys", len(e.Snapshot.GetKeys()))
	case *demo.KeyEvent_Created:
		return fmt.Sprintf("created %q", e.Created.GetName())
	case *demo.KeyEvent_Deleted:
		return fmt.Sprintf("deleted %q", e.Deleted)
	}
	return "tick"
}

// printExamples prints grpcurl commands to try.
func (p *program) printExamples(local net.Listener) {
	addr := endpoint.Addr(local)
	name := demo.Hub_ServiceDesc.ServiceName
	fmt.Fprint(p.stdout, "\nTry in another terminal (go tool grpcurl in wstun's source, or an installed grpcurl):\n")
	for _, line := range []string{
		addr + " list",
		addr + " describe " + name,
		"-d '{\"name\":\"k1\"}' " + addr + " " + name + "/CreateKey",
		"-d '{\"tick\":\"1s\"}' " + addr + " " + name + "/WatchKeys",
	} {
		fmt.Fprintf(p.stdout, "  grpcurl -plaintext %s\n", line)
	}
}
