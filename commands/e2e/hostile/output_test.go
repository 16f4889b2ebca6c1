//go:build linux && !race

package hostile

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/wstun/wstun/tunnel/tunneltest"
)

// heldText is the peak in MiB of a command that tries to indent a deep response: it gives up
// at 64 MiB, and has shorter copies of the text by then, because a strings.Builder grows by a
// quarter.
const heldText = 512

// outputAttacks make the output of a command large.
var outputAttacks = []commandAttack{
	{name: "call pretty-prints a deep response", args: callDeep, peak: heldText},
	{name: "call pretty-prints a deep response until --max-time", args: maxTime(callDeep), peak: heldText, cpu: 4 * time.Second, within: 10 * time.Second},
	{name: "call pretty-prints a deep response until SIGINT", args: callDeep, interrupt: true, peak: heldText, cpu: 4 * time.Second, within: 10 * time.Second},
	{name: "describe fills in a template that grows exponentially", args: describeWide},
	{name: "describe fills in a template that grows exponentially until SIGINT", args: describeWide, interrupt: true, cpu: 4 * time.Second, within: 10 * time.Second},
}

// maxTime adds --max-time 0.3 to a command.
func maxTime(args func(*testing.T) []string) func(*testing.T) []string {
	return func(t *testing.T) []string {
		t.Helper()
		a := args(t)
		return append([]string{a[0], "--max-time", "0.3"}, a[1:]...)
	}
}

// callDeep calls a method whose response has ten fields of 4,900 nested messages each.
func callDeep(t *testing.T) []string {
	t.Helper()
	const fields, levels = 10, 4900
	var chain []byte
	for range levels {
		chain = protowire.AppendBytes([]byte{1<<3 | 2}, chain)
	}
	var response []byte
	for range fields {
		response = append(response, chain...)
	}
	srv := grpc.NewServer(grpc.ForceServerCodecV2(bytesCodec{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		return stream.SendMsg(response)
	}))
	l := tunneltest.Listen(t)
	go srv.Serve(l)
	t.Cleanup(srv.Stop)
	proto := writeFile(t, "deep.proto", []byte(`syntax = "proto3"; package deep;
message Node { repeated Node child = 1; }
service S { rpc Do(Node) returns (Node); }`))
	return []string{"call", "--pretty", "--proto", proto, l.Addr().String(), "deep.S/Do"}
}

// describeWide describes the first of 26 messages that have three fields of the next one.
func describeWide(t *testing.T) []string {
	t.Helper()
	var source strings.Builder
	source.WriteString(`syntax = "proto3"; package wide;` + "\n")
	const messages = 26
	for i := range messages {
		fmt.Fprintf(&source, "message M%d {", i)
		if next := i + 1; next < messages {
			fmt.Fprintf(&source, " M%d a = 1; M%d b = 2; M%d c = 3;", next, next, next)
		}
		source.WriteString(" }\n")
	}
	return []string{"describe", "--msg-template", "--proto", writeFile(t, "wide.proto", []byte(source.String())), "wide.M0"}
}
