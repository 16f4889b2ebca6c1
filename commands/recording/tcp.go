package recording

import (
	"encoding/binary"
	"fmt"
	"maps"

	"github.com/wstun/wstun/tunnel/trace"
)

const (
	// maxIdleConns is how many connections are kept at least.
	maxIdleConns = 10_000

	// serverPort is that of HTTP, whose dissector recognizes the preface of HTTP/2.
	// Clients have ports from firstPort, because smaller ones may be those of other
	// protocols.
	serverPort = 80
	firstPort  = 49152
	lastPort   = 65535
)

// session is a session as an interface.
type session struct {
	number    uint64
	id        uint32     // of the interface
	addresses [2][4]byte // of the client and the server, for the next connection
	pairs     int        // of addresses so far
	port      int        // of the client, for the next connection
}

// session returns the session with this number, which it declares if it is new.
func (p *Pcapng) session(number uint64) *session {
	s := p.sessions[number]
	if s == nil {
		if len(p.sessions) >= p.maxConns {
			p.forgetIdle()
		}
		s = &session{number: number}
		p.sessions[number] = s
		p.declare(s)
		p.assign(s)
	}
	return s
}

// assign assigns two unused addresses to s: 10.0.0.1 and 10.0.0.2, 10.0.1.1 and 10.0.1.2, and
// after 10.255.255.2 10.0.0.3 and 10.0.0.4.
func (p *Pcapng) assign(s *session) {
	n := p.addresses
	p.addresses++
	for side := range s.addresses {
		s.addresses[side] = [4]byte{10, byte(n >> 8), byte(n), byte(n>>16%127*2) + byte(side) + 1} //nolint:gosec // parts of n
	}
	s.port = firstPort
	s.pairs++
	suffix := fmt.Sprintf(".session-%d", s.number)
	if s.pairs > 1 {
		suffix = fmt.Sprintf("-%d", s.pairs) + suffix
	}
	p.name(s, [2]string{"client" + suffix, "server" + suffix})
}

// connKey identifies a connection of HTTP/2.
type connKey struct {
	session uint64
	stream  uint32 // of yamux
}

// conn is a made-up TCP connection.
type conn struct {
	key       connKey
	session   *session
	addresses [2][4]byte
	ports     [2]uint16
	sent      [2]uint32 // the next sequence numbers of the client and the server
	next      uint32    // the next stream of HTTP/2
	open      int       // calls
	isCut     bool      // it is reset once no call is open
}

// newConn begins a connection.
func (p *Pcapng) newConn(key connKey) *conn {
	if len(p.conns) >= p.maxConns {
		p.forgetIdle()
	}
	s := p.session(key.session)
	if s.port > lastPort {
		p.assign(s)
	}
	c := &conn{key: key, session: s, addresses: s.addresses, ports: [2]uint16{uint16(s.port), serverPort}, next: 1} //nolint:gosec // up to lastPort
	s.port++
	p.conns[key] = c
	// Of two files that are merged, the same connections have other numbers.
	c.sent[trace.Client] = uint32(p.at.UnixMicro()) //nolint:gosec // any number
	c.sent[trace.Server] = ^c.sent[trace.Client]
	p.segment(c, trace.Client, synFlag, synOptions)
	p.segment(c, trace.Server, synFlag|ackFlag, synOptions)
	p.segment(c, trace.Client, ackFlag, nil)
	p.preface(c)
	return c
}

// forgetIdle forgets the connections without open calls, and the sessions without
// connections. It allows for as many again, so that it takes constant time on average.
func (p *Pcapng) forgetIdle() {
	maps.DeleteFunc(p.conns, func(_ connKey, c *conn) bool { return c.open == 0 })
	used := map[uint64]bool{}
	for key := range p.conns {
		used[key.session] = true
	}
	maps.DeleteFunc(p.sessions, func(number uint64, _ *session) bool { return !used[number] })
	p.maxConns = max(maxIdleConns, 2*len(p.conns))
}

// Of IPv4 and TCP (RFC 9293).
const (
	tcpProtocol = 6
	udpProtocol = 17
	ipLength    = 20
	tcpLength   = 20
	udpLength   = 8
	syslogPort  = 514

	synFlag, rstFlag, pushFlag, ackFlag = 2, 4, 8, 16
)

// synOptions allow for the largest segments and window: only packets with data acknowledge
// others.
var synOptions = []byte{2, 4, 0xff, 0xd7, 3, 3, 14, 1}

// segment appends a segment that one side sends.
func (p *Pcapng) segment(c *conn, from trace.Side, flags byte, options []byte, payload ...[]byte) {
	size := 0
	for _, part := range payload {
		size += len(part)
	}
	to := 1 - from
	b := appendIP(p.header[:0], tcpProtocol, c.addresses[from], c.addresses[to], tcpLength+len(options)+size)
	b = be.AppendUint16(b, c.ports[from])
	b = be.AppendUint16(b, c.ports[to])
	b = be.AppendUint32(b, c.sent[from])
	if flags&ackFlag != 0 {
		b = be.AppendUint32(b, c.sent[to])
	} else {
		b = be.AppendUint32(b, 0)
	}
	b = append(b, byte((tcpLength+len(options))/4<<4), flags, 0xff, 0xff, 0, 0, 0, 0) //nolint:gosec // the length is in words; the largest window, no checksum
	p.header = append(b, options...)
	p.packet(c.session, append([][]byte{p.header}, payload...)...)
	c.sent[from] += uint32(size)
	if flags&synFlag != 0 {
		c.sent[from]++
	}
}

var be = binary.BigEndian

// appendIP appends the header of an IPv4 packet with size bytes after it.
func appendIP(b []byte, protocol byte, from, to [4]byte, size int) []byte {
	b = append(b, 0x45, 0)                           // version 4, ipLength
	b = be.AppendUint16(b, uint16(ipLength+size))    //nolint:gosec // that of a frame
	b = append(b, 0, 0, 0x40, 0, 64, protocol, 0, 0) // not to be fragmented, no checksum
	b = append(b, from[:]...)
	return append(b, to[:]...)
}

// note appends a packet with a text: a message of syslog (RFC 5426), so that Wireshark
// lists the text. It is also a comment.
func (p *Pcapng) note(number uint64, format string, a ...any) {
	p.comment(format, a...)
	text := p.comments[len(p.comments)-1]
	s := p.session(number)
	b := appendIP(p.header[:0], udpProtocol, s.addresses[trace.Client], s.addresses[trace.Server], udpLength+len(text))
	b = be.AppendUint16(b, firstPort)
	b = be.AppendUint16(b, syslogPort)
	b = be.AppendUint16(b, uint16(udpLength+len(text))) //nolint:gosec // up to maxComment
	b = append(b, 0, 0)                                 // no checksum
	p.header = append(b, text...)
	p.packet(s, p.header)
}
