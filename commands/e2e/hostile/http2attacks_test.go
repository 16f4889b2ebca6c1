//go:build linux

package hostile

import (
	"golang.org/x/net/http2"

	"github.com/wstun/wstun/commands/demo"
)

var http2Attacks = []attack{
	{name: "16000 connections to dial from the server", target: dial, sessions: 1, held: 192, run: onManyStreams(16000, aCall)},
}

// aCall makes a call.
func aCall(c *http2Conn) error {
	_, err := c.Write(appendHeaders(nil, 1, request(demo.Hub_Sleep_FullMethodName), 0, http2.FlagHeadersEndHeaders))
	return err
}
