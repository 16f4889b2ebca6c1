package recording

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/wstun/wstun/tunnel/escape"
)

// Pcapng converts the lines of a recording to pcapng (draft-ietf-opsawg-pcapng), which
// Wireshark opens as HTTP/2 and gRPC without any configuration:
//
//	p := recording.NewPcapng("1.0.0")
//	b := p.Start(nil)
//	b = p.Append(b, lines)
//
// Only the calls, their messages, and the times are those of the recording. The frames of
// HTTP/2 and the packets are made up: each yamux stream is a TCP connection to port 80,
// which begins with the first event, and in which each frame is a packet. The events don't say
// when a stream ends, so connections aren't closed, except that one whose calls were cut is
// reset. A call that was cut itself ends with RST_STREAM and CONNECT_ERROR. The status of a response that
// isn't gRPC is recorded at its end, so its headers are there, too.
//
// Each session is an interface with two addresses, whose names client.session-1 and
// server.session-1 are shown with tshark -N n, or where Wireshark resolves network addresses. They are the
// sides of a call: in a session with calls in both directions, each peer is both.
//
// Messages are uncompressed; the metadata still has grpc-encoding. Comments of packets say
// what HTTP/2 can't: that bytes of a message, or events, are missing; that secrets
// were removed from a message, or that it was sent compressed; that headers are made up because
// the beginning of the call is missing. Lost events, and streams with another protocol, are
// messages of syslog.
//
// The memory is bounded by up to 131,072 open calls, and by 10,000 connections without open
// calls. A Pcapng is used by one goroutine at a time.
type Pcapng struct {
	version string
	b       []byte // the result of the method that is running
	isBegun bool   // there is a section header

	at         time.Time // of the current event
	comments   []string  // of the next packet
	interfaces uint32    // of the section
	addresses  uint32    // how many pairs there are
	sessions   map[uint64]*session
	conns      map[connKey]*conn
	maxConns   int                  // how many are kept; see forgetIdle
	calls      map[uint64]*openCall // the open ones, by number

	header []byte         // of IP and TCP
	block  bytes.Buffer   // a header block
	hpack  *hpack.Encoder // to block
}

// NewPcapng returns a Pcapng. wstun is the version of the tool, or "".
func NewPcapng(wstun string) *Pcapng {
	p := &Pcapng{version: wstun}
	p.hpack = hpack.NewEncoder(&p.block)
	p.hpack.SetMaxDynamicTableSize(0)
	p.field(":status", "200") // the first block also has the new size of the table, which belongs to one connection
	p.block.Reset()
	p.forget()
	return p
}

// Start appends the beginning of a file to b, and forgets all connections: the events after
// it begin new ones, also those of open calls.
func (p *Pcapng) Start(b []byte) []byte {
	p.forget()
	p.addresses = 0
	p.b = b
	p.section()
	return p.take()
}

// restart forgets all connections, because the bytes that were returned haven't all been
// written, such as to a full disk. Append continues with a new section, so the file must end
// with a whole block. In later sections, Wireshark 4.0 shows wrong names of interfaces; those of
// hosts are right.
func (p *Pcapng) restart() {
	p.forget()
	p.isBegun = false
}

// Append appends the packets for whole lines to b. Like [Reader], it skips lines that
// aren't events.
func (p *Pcapng) Append(b, lines []byte) []byte {
	p.b = b
	if !p.isBegun {
		p.section()
	}
	for text := range bytes.Lines(lines) {
		if l := parse(text); l != nil {
			p.line(l)
		}
	}
	return p.take()
}

func (p *Pcapng) take() []byte {
	b := p.b
	p.b = nil
	return b
}

func (p *Pcapng) forget() {
	p.comments = nil
	p.sessions, p.conns, p.calls = map[uint64]*session{}, map[connKey]*conn{}, map[uint64]*openCall{}
	p.maxConns = maxIdleConns
}

// The types of blocks, and their options.
const (
	sectionBlock   = 0x0A0D0D0A
	interfaceBlock = 1
	namesBlock     = 4
	packetBlock    = 6

	endOption             = 0
	commentOption         = 1 // of all blocks
	nameOption            = 2 // of interfaceBlock
	descriptionOption     = 3
	resolutionOption      = 9
	applicationOption     = 4 // of sectionBlock
	byteOrder             = 0x1A2B3C4D
	linkTypeRaw           = 101 // IP packets
	ipv4Record, endRecord = 1, 0
)

// pcapngHead is the number of bytes that isPcapng needs.
const pcapngHead = 33

// isPcapng reports whether a file that begins with head is from a Pcapng, of any version of
// wstun.
func isPcapng(head []byte) bool {
	return len(head) >= pcapngHead &&
		le.Uint32(head) == sectionBlock && le.Uint32(head[8:]) == byteOrder &&
		le.Uint16(head[24:]) == applicationOption && string(head[28:pcapngHead]) == application
}

const application = "wstun"

var le = binary.LittleEndian

// section appends a section header. isPcapng knows its beginning.
func (p *Pcapng) section() {
	p.isBegun, p.interfaces = true, 0
	at := p.beginBlock(sectionBlock)
	p.b = le.AppendUint32(p.b, byteOrder)
	p.b = append(p.b, 1, 0, 0, 0)          // version 1.0
	p.b = le.AppendUint64(p.b, ^uint64(0)) // the length isn't known
	name := application
	if p.version != "" {
		name += " " + p.version
	}
	p.option(applicationOption, name)
	p.option(commentOption, sectionComment)
	p.option(endOption, "")
	p.endBlock(at)
}

const sectionComment = "Made from the recording of a wstun session, not captured from a network. " +
	"The calls, their messages, metadata and statuses, and the times are real. The framing of HTTP/2, TCP and IP is made up: " +
	"each yamux stream of the session is a TCP connection, each frame a packet, and header lists aren't compressed. " +
	"Messages are shown uncompressed, and secrets are removed from them and from the metadata unless the recording has them, so their lengths may differ from those sent. " +
	"The method of a request is always POST, and the status of a response 200 unless it isn't gRPC's. " +
	"client and server in names of hosts are the sides of a call: a session may have calls in both directions. " +
	"Comments of packets say what is missing; calls that were cut end with CONNECT_ERROR."

// beginBlock appends the beginning of a block, for endBlock.
func (p *Pcapng) beginBlock(kind uint32) (at int) {
	at = len(p.b)
	p.b = le.AppendUint32(p.b, kind)
	p.b = le.AppendUint32(p.b, 0)
	return at
}

func (p *Pcapng) endBlock(at int) {
	length := uint32(len(p.b) - at + 4) //nolint:gosec // blocks are short
	le.PutUint32(p.b[at+4:], length)
	p.b = le.AppendUint32(p.b, length)
}

// maxComment is the longest comment of a packet, in bytes.
const maxComment = 1000

// option appends an option.
func (p *Pcapng) option(code uint16, value string) {
	p.b = le.AppendUint16(p.b, code)
	p.padded(value)
}

// padded appends the length of value, and value with zeros to a multiple of 4 bytes.
func (p *Pcapng) padded(value string) {
	p.b = le.AppendUint16(p.b, uint16(len(value))) //nolint:gosec // short texts
	p.b = append(p.b, value...)
	p.pad(len(value))
}

// pad appends zeros after n bytes.
func (p *Pcapng) pad(n int) { p.b = append(p.b, "\x00\x00\x00"[:-n&3]...) }

// comment adds a comment to the next packet.
func (p *Pcapng) comment(format string, a ...any) {
	text := escape.Line(fmt.Sprintf(format, a...))
	p.comments = append(p.comments, strings.ToValidUTF8(text[:min(len(text), maxComment)], ""))
}

// declare appends an interface for a session.
func (p *Pcapng) declare(s *session) {
	s.id = p.interfaces
	p.interfaces++
	at := p.beginBlock(interfaceBlock)
	p.b = le.AppendUint32(p.b, linkTypeRaw)
	p.b = le.AppendUint32(p.b, 0) // packets may have any length
	p.option(nameOption, fmt.Sprintf("session %d", s.number))
	if s.number == 0 {
		p.option(descriptionOption, "calls that wstun answered itself")
	}
	p.option(resolutionOption, "\x09") // ns
	p.option(endOption, "")
	p.endBlock(at)
}

// name appends names of addresses.
func (p *Pcapng) name(s *session, names [2]string) {
	at := p.beginBlock(namesBlock)
	for i, name := range names {
		p.b = le.AppendUint16(p.b, ipv4Record)
		p.padded(string(s.addresses[i][:]) + name + "\x00")
	}
	p.b = append(p.b, endRecord, 0, 0, 0)
	p.endBlock(at)
}

// packet appends a packet with the comments so far.
func (p *Pcapng) packet(s *session, parts ...[]byte) {
	length := 0
	for _, part := range parts {
		length += len(part)
	}
	at := p.beginBlock(packetBlock)
	p.b = le.AppendUint32(p.b, s.id)
	ns := uint64(max(0, p.at.UnixNano()))
	p.b = le.AppendUint32(p.b, uint32(ns>>32))
	p.b = le.AppendUint32(p.b, uint32(ns)) //nolint:gosec // its lower half
	for range 2 {                          // as captured, and as sent
		p.b = le.AppendUint32(p.b, uint32(length))
	}
	for _, part := range parts {
		p.b = append(p.b, part...)
	}
	p.pad(length)
	for _, text := range p.comments {
		p.option(commentOption, text)
	}
	if len(p.comments) > 0 {
		p.option(endOption, "")
	}
	p.comments = p.comments[:0]
	p.endBlock(at)
}
