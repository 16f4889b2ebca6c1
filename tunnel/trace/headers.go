package trace

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2/hpack"
)

const (
	// maxBlock is the longest header block that is decoded, in bytes. gRPC's limit for
	// all metadata of a call is 1 MiB at both ends of wstun.
	maxBlock = 1 << 20

	// maxFields is how many bytes of a header list are kept, with 32 for each field
	// (RFC 7541 §4.1).
	maxFields = 64 << 10

	// initialTable is the size of an HPACK table at the beginning, in bytes (RFC 9113
	// §6.5.2), and maxTable the largest that is decoded. Small entries take up to
	// tableOverhead times their size in memory.
	initialTable  = 4 << 10
	maxTable      = 64 << 10
	tableOverhead = 3
)

var (
	errNoMemory  = errors.New("no memory left for header lists")
	errLongBlock = errors.New("a header block is longer than 1 MiB")
)

// headers decodes the header blocks of one direction of a connection. It decodes whole
// blocks: x/net's Decoder would keep the memory for the part of a string that has arrived.
type headers struct {
	decoder *hpack.Decoder // nil before the first block, and after an error
	block   []byte         // of the current block
	allowed uint32         // the largest table that the receiver allows
	table   uint32         // the largest table so far; its memory is charged
	err     error          // no more blocks can be decoded
}

// headerList is a header list. It is valid while the end of a block is handled.
type headerList struct {
	path, authority, timeout, contentType, encoding string
	status, grpcStatus, grpcMessage                 string

	fields  []hpack.HeaderField // without pseudo-header fields; -bin has base64
	size    int                 // of fields, see maxFields
	omitted bool                // there are more fields
	err     error               // it couldn't be decoded
}

// reset forgets the header list.
func (l *headerList) reset() {
	fields := l.fields
	clear(fields)
	if cap(fields) > 64 {
		fields = nil
	}
	*l = headerList{fields: fields[:0]}
}

// allowTable allows a table of n bytes.
func (h *headers) allowTable(n uint32) { h.allowed = max(h.allowed, min(n, maxTable)) }

// write adds p to the current block of d. After an error, it ignores p.
func (h *headers) write(d *direction, p []byte) {
	if h.err != nil {
		return
	}
	if len(h.block)+len(p) > maxBlock {
		h.fail(d, errLongBlock)
		return
	}
	var ok bool
	if h.block, ok = d.conn.grow(h.block, len(p), maxBlock); !ok {
		h.fail(d, errNoMemory)
		return
	}
	h.block = append(h.block, p...)
}

// decode decodes the current block of d, which is complete, into d.conn.list.
func (h *headers) decode(d *direction) {
	l := &d.conn.list
	if l.err = h.err; h.err != nil {
		return
	}
	if h.decoder == nil {
		h.decoder = hpack.NewDecoder(initialTable, l.add)
		h.decoder.SetMaxStringLength(maxBlock)
	}
	err := h.updateTable(d.conn)
	if err == nil {
		_, err = h.decoder.Write(h.block)
	}
	if err == nil {
		err = h.decoder.Close()
	}
	if err != nil {
		l.err = err
		h.fail(d, err)
		return
	}
	if h.block = d.conn.release(h.block); h.block == nil { // the Decoder still refers to it
		_, _ = h.decoder.Write([]byte{0x82}) // :method GET
		_ = h.decoder.Close()
	}
}

// updateTable charges for a larger table. The updates of its size precede the fields of a
// block (RFC 7541 §4.2).
func (h *headers) updateTable(c *conn) error {
	const prefix = 1<<5 - 1 // RFC 7541 §5.1, §6.3
	for b := h.block; len(b) > 0 && b[0]&^prefix == 1<<5; {
		size, n := uint64(b[0]&prefix), 1
		if size == prefix {
			more, k := binary.Uvarint(b[1:])
			if k <= 0 {
				break // the decoder reports it
			}
			size, n = size+more, 1+k
		}
		table := max(h.table, uint32(min(size, uint64(h.allowed))))
		if !c.charge(int64(table-h.table) * tableOverhead) {
			return errNoMemory
		}
		h.table, b = table, b[n:]
	}
	h.decoder.SetAllowedMaxDynamicTableSize(h.table)
	return nil
}

// fail ends the decoding of header blocks. The calls of the connection are still traced,
// without their names.
func (h *headers) fail(d *direction, err error) {
	d.conn.charge(-int64(h.table-initialTable)*tableOverhead - int64(cap(h.block)))
	*h = headers{err: err}
	d.conn.newEvent(Other, d.sender).Message = "header lists that can't be decoded: " + err.Error()
	d.conn.putEvent(d.conn.tracer.current())
}

// add adds a field.
func (l *headerList) add(f hpack.HeaderField) {
	switch f.Name {
	case ":path":
		l.path = f.Value
	case ":authority":
		l.authority = f.Value
	case ":status":
		l.status = f.Value
	case "content-type":
		l.contentType = f.Value
	case "grpc-encoding":
		l.encoding = f.Value
	case "grpc-timeout":
		l.timeout = f.Value
	case "grpc-status":
		l.grpcStatus = f.Value
	case "grpc-message":
		l.grpcMessage = f.Value
	}
	if f.Name != "" && f.Name[0] == ':' {
		return
	}
	data, isBinary := binaryValue(&f)
	length := len(f.Value)
	if isBinary {
		length = base64.RawStdEncoding.EncodedLen(len(data))
	}
	size := len(f.Name) + length + 32
	if l.size+size > maxFields {
		l.omitted = true
		return
	}
	if isBinary {
		f.Value = base64.RawStdEncoding.EncodeToString([]byte(data))
	}
	l.size += size
	l.fields = append(l.fields, f)
}

// binaryValue returns the bytes of metadata that is sent as such, with a NUL byte before
// them, and not in base64, as between two peers with gRPC's C++ library.
// See https://github.com/grpc/proposal/blob/master/G1-true-binary-metadata.md.
func binaryValue(f *hpack.HeaderField) (data string, ok bool) {
	if !strings.HasSuffix(f.Name, "-bin") {
		return "", false
	}
	return strings.CutPrefix(f.Value, "\x00")
}

// parseTimeout returns the value of grpc-timeout (PROTOCOL-HTTP2.md of gRPC, Timeout),
// or 0.
func parseTimeout(s string) time.Duration {
	if s == "" || len(s) > len("99999999H") {
		return 0
	}
	var unit time.Duration
	switch s[len(s)-1] {
	case 'H':
		unit = time.Hour
	case 'M':
		unit = time.Minute
	case 'S':
		unit = time.Second
	case 'm':
		unit = time.Millisecond
	case 'u':
		unit = time.Microsecond
	case 'n':
		unit = time.Nanosecond
	default:
		return 0
	}
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 32)
	if err != nil {
		return 0
	}
	return unit * min(time.Duration(n), math.MaxInt64/unit) //nolint:durationcheck // n is a number
}

// unescapeMessage decodes grpc-message (PROTOCOL-HTTP2.md of gRPC, Status-Message).
// Improper escapes stay as they are.
func unescapeMessage(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(c))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// secretWords are parts of the names of metadata that has credentials, secretPrefixes their
// beginnings.
var (
	secretWords = []string{
		"authorization", "cookie", "token", "secret", "passw", "credential", "jwt", "signature", "csrf",
		"api-key", "apikey", "access-key", "private-key", "session-id", "sessionid",
	}
	secretPrefixes = []string{"x-auth", "x-goog-iam-"}
)

// IsSecret reports whether metadata with this name, in any case, usually has
// credentials: it begins with x-auth or x-goog-iam-, or has authorization, cookie, token,
// secret, passw, credential, jwt, signature, csrf, session-id, or api-, access- or private-key
// in it.
func IsSecret(name string) bool {
	name = strings.ToLower(name) // HTTP/2 demands it, but not every peer complies
	return slices.ContainsFunc(secretWords, func(word string) bool { return strings.Contains(name, word) }) ||
		slices.ContainsFunc(secretPrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// Redacted replaces secret values.
const Redacted = "[redacted]"

// isProtocol reports whether metadata with this name is gRPC's own, and never secret. Those
// of wstun's answers are never indexed, only to keep them out of the tables.
func isProtocol(name string) bool {
	return name == "content-type" || strings.HasPrefix(name, "grpc-")
}

// redactor replaces secret values, or marks them as Sensitive.
type redactor struct {
	isSecret func(name string) bool
	keep     bool            // only mark them
	known    map[string]bool // results of isSecret
}

// maxKnown is how many names a redactor remembers, up to maxKnownName bytes long.
const (
	maxKnown     = 1000
	maxKnownName = 100
)

func (r *redactor) redact(fields []hpack.HeaderField) {
	for i := range fields {
		f := &fields[i]
		secret, ok := r.known[f.Name]
		if !ok {
			secret = r.isSecret(f.Name)
			if len(f.Name) <= maxKnownName {
				if len(r.known) >= maxKnown {
					clear(r.known)
				}
				r.known[f.Name] = secret
			}
		}
		f.Sensitive = secret || f.Sensitive && !isProtocol(f.Name)
		if f.Sensitive && !r.keep {
			f.Value = Redacted
		}
	}
}
