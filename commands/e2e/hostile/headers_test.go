//go:build linux && !race

package hostile

import (
	"bytes"

	"golang.org/x/net/http2"

	"github.com/wstun/wstun/commands/demo"
)

// heldHeaders is the live heap in MiB that a session's header lists may need. They are
// limited to 16 MiB in the sense of RFC 9113 §6.5.2, which counts 34 bytes for a field
// that takes about three times as many; and as much again for those that are being refused.
const heldHeaders = 128

var headerAttacks = []attack{
	{name: "header bombs", target: hub, sessions: 1, held: heldHeaders, run: inSession(headerBombs)},
	{name: "header bombs to the proxy", target: proxy, sessions: 1, held: heldHeaders, run: inSession(headerBombs)},
	{name: "header bombs to dial from the server", target: dial, sessions: 1, held: heldHeaders, run: inSession(headerBombs)},
	{name: "header bombs to dial from local clients", target: dialAlone, held: heldHeaders, run: fromLocal(headerBombs)},
	{name: "endless header bombs on many streams", target: hub, sessions: 1, held: heldHeaders, run: onManyStreams(64, endlessHeaders)},
	{name: "endless header bombs from local clients", target: dialAlone, held: heldHeaders, run: fromManyLocal(64, endlessHeaders)},
	{name: "a huge header", target: hub, sessions: 1, held: heldHeaders, run: inSession(hugeHeaders)},
	{name: "many large header lists", target: hub, sessions: 1, held: heldHeaders, run: inSession(manyHeaders)},
	{name: "header bombs from an upstream", target: besideHub(serveBombs("")), sessions: 1, held: heldHeaders, run: calls(46, headerBombMethod)},
	{name: "trailer bombs from an upstream", target: besideHub(serveBombs("")), sessions: 1, held: heldHeaders, run: calls(46, trailerBombMethod)},
	{name: "an endless header bomb from an upstream", target: besideHub(serveBombs("")), sessions: 1, held: heldHeaders, run: calls(46, endlessBombMethod)},
}

// calls returns an attack that calls method n times and has no window for responses.
func calls(n uint32, method string) func(*attacker) error {
	return func(a *attacker) error {
		c, err := a.openHTTP2(0, noWindow)
		if err != nil {
			return err
		}
		block := request(method)
		for i := range n {
			if _, err := c.Write(appendHeaders(nil, 1+2*i, block, http2.FlagHeadersEndStream, http2.FlagHeadersEndHeaders)); err != nil {
				return err
			}
		}
		return nil
	}
}

// inSession returns an attack on one HTTP/2 connection in a session.
func inSession(run func(*http2Conn) error) func(*attacker) error {
	return onManyStreams(1, run)
}

// onManyStreams returns an attack on n HTTP/2 connections in a session, one after the
// other. The client has no window for responses.
func onManyStreams(n int, run func(*http2Conn) error) func(*attacker) error {
	return func(a *attacker) error {
		for range n {
			c, err := a.openHTTP2(0, noWindow)
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

// bombFields is how often a header bomb repeats its field. The list is then as long as
// grpc-go allows by default.
const bombFields = 490_000

// repeated appends bombFields fields "a: b" to block: one that adds it to the HPACK
// table, and then its index, one byte each.
func repeated(block []byte) []byte { return repeatedTimes(block, bombFields) }

func repeatedTimes(block []byte, n int) []byte {
	const index = 0x80 | 62 // the newest in the table (RFC 7541 §2.3.3)
	block = append(block, 0x40, 1, 'a', 1, 'b')
	return append(block, bytes.Repeat([]byte{index}, n)...)
}

// headerBombs begins 46 calls with a header bomb and doesn't end them.
func headerBombs(c *http2Conn) error {
	bomb := repeated(request(demo.Hub_Sleep_FullMethodName))
	for i := range uint32(46) {
		if _, err := c.Write(appendHeaders(nil, 1+2*i, bomb, 0, http2.FlagHeadersEndHeaders)); err != nil {
			return err
		}
	}
	return nil
}

// endlessHeaders begins a call with a header bomb that doesn't end.
func endlessHeaders(c *http2Conn) error {
	_, err := c.Write(appendHeaders(nil, 1, repeated(request(demo.Hub_Sleep_FullMethodName)), 0, 0))
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

// manyHeaders begins more calls than a session's header lists allow, each with one just
// below 1 MiB.
func manyHeaders(c *http2Conn) error {
	block := repeatedTimes(request(demo.Hub_Sleep_FullMethodName), 900*1024/34) // a field counts 34 bytes
	for i := range uint32(256) {
		if _, err := c.Write(appendHeaders(nil, 1+2*i, block, 0, http2.FlagHeadersEndHeaders)); err != nil {
			return err
		}
	}
	return nil
}
