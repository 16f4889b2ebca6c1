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

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/forward"
	"github.com/wstun/wstun/tunnel/wsmux"
)

func (p *program) demoCommand() *cli.Command {
	return &cli.Command{
		Name:      "demo",
		Usage:     "a Hub, a Worker and a tunnel in one process, to try it out",
		UsageText: "wstun demo [flags]",
		Description: "Brings up serve and dial on loopback, calls through them, prints lines to try\n" +
			"with grpcurl, and stays up until stopped.",
		Flags: []cli.Flag{
			stringFlag("listen", "listen for gRPC clients at `ADDR`", "127.0.0.1:0"),
			boolFlag("once", "end after the calls"),
		},
		Action: p.demo,
	}
}

func (p *program) demo(c *cli.Context) error {
	if _, err := p.arguments(c, 0); err != nil {
		return err
	}
	ctx := c.Context
	websockets, err := listen(ctx, "--accept", "127.0.0.1:0")
	if err != nil {
		return err
	}
	local, err := listen(ctx, "--listen", c.String("listen"))
	if err != nil {
		_ = websockets.Close()
		return err
	}
	url := "ws://" + addrOf(websockets) + "/"

	// The Hub's side: accepts the WebSocket, serves gRPC.
	srv := newDemoBackend()
	hubSessions := &tunnel.Sessions{}
	hubSessions.Subscribe(tunnel.Subscriber{Up: srv.serveStreams})
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
	wg.Go(func() { _ = forwarder.Serve(local) })
	wg.Go(func() { _ = connector.Run(running) })

	fmt.Fprintf(p.stdout, "Hub at %s, gRPC through the tunnel at %s\n", url, addrOf(local))
	err = p.showDemo(ctx, local)
	if err == nil && !c.Bool("once") {
		fmt.Fprint(p.stdout, "\nThe tunnel stays up until Ctrl-C.\n")
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		err = nil // stopped
	}
	stop()
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err = errors.Join(err, forwarder.Shutdown(ending), workerSessions.Shutdown(ending),
		acceptor.Shutdown(ending), srv.shutdown(ending, hubSessions))
	wg.Wait()
	return err
}

// showDemo calls the Hub through the tunnel and prints the responses.
func (p *program) showDemo(ctx context.Context, local net.Listener) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	target := addrOf(local)
	if local.Addr().Network() == "tcp" {
		target = "passthrough:///" + target
	}
	cc, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
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
	for calls := 0; ; calls++ {
		event, err := watch.Recv()
		if errors.Is(err, io.EOF) {
			break // after the last event
		}
		if err != nil {
			return fmt.Errorf("watch keys: %w", err)
		}
		fmt.Fprintf(p.stdout, "  event: %s\n", describeEvent(event))
		switch calls {
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
	p.printDemoLines(local)
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

// printDemoLines prints grpcurl commands to try.
func (p *program) printDemoLines(local net.Listener) {
	addr := addrOf(local)
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
