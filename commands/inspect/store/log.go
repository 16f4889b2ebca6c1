package store

import (
	"time"
	"unsafe"
)

const (
	// A block has up to blockMessages messages, and further ones until it has blockSize
	// bytes of them. The first has Head messages.
	blockMessages = 256
	blockSize     = 64 << 10

	entryMemory = int64(unsafe.Sizeof(entry{}))
	blockMemory = int64(unsafe.Sizeof(block{})) + 16
)

// log has the messages of a call, in blocks. Blocks are dropped as a whole, the second one
// first. Readers may keep slices of data: nothing that has been written is written again.
type log struct {
	blocks    []*block
	total     uint64 // messages, with the dropped ones
	dropped   uint64
	memory    int64
	encodings [2]string           // of the requests, and the responses
	redacted  map[uint64][]string // by position
}

// block has messages that follow each other.
type block struct {
	first    uint64 // the position of its first message
	previous int64  // the time of the message before; 0: none
	messages []entry
	data     []byte
}

// entry is a message.
type entry struct {
	at             int64 // nanoseconds since 1970
	size           int64 // as sent
	offset, length uint32
	byServer       bool
	isCompressed   bool
	isWhole        bool // trace.Event.Whole
}

// count returns the number of messages that are kept.
func (l *log) count() uint64 { return l.total - l.dropped }

func (b *block) memory() int64 {
	return blockMemory + int64(cap(b.messages))*entryMemory + int64(cap(b.data))
}

// add adds a message, and returns how much memory that took.
func (l *log) add(m entry, data []byte, encoding string, redacted []string) (memory int64) {
	b := l.last(len(data))
	before := b.memory()
	if len(b.messages) == 0 {
		before = 0
	}
	m.offset, m.length = uint32(len(b.data)), uint32(len(data)) //nolint:gosec // a block is small
	if cap(b.data) == 0 && len(data) > 0 {
		b.data = make([]byte, 0, len(data))
	}
	b.data, b.messages = append(b.data, data...), append(b.messages, m)
	if encoding != "" {
		l.encodings[direction(m.byServer)] = encoding
	}
	memory = b.memory() - before
	if len(redacted) > 0 {
		if l.redacted == nil {
			l.redacted = map[uint64][]string{}
		}
		l.redacted[l.total] = redacted
		for _, path := range redacted {
			memory += int64(len(path)) + redactedMemory
		}
	}
	l.total++
	l.memory += memory
	return memory
}

// redactedMemory is the memory of a path in log.redacted.
const redactedMemory = 64

func direction(byServer bool) int {
	if byServer {
		return 1
	}
	return 0
}

// last returns the block for the next message.
func (l *log) last(size int) *block {
	next := &block{first: l.total}
	if n := len(l.blocks); n > 0 {
		b := l.blocks[n-1]
		switch isFirst := n == 1; {
		case isFirst && len(b.messages) < Head,
			!isFirst && len(b.messages) < blockMessages && len(b.data)+size <= blockSize:
			return b
		}
		next.previous = b.messages[len(b.messages)-1].at
	}
	l.blocks = append(l.blocks, next)
	return next
}

// droppable returns how many bytes of messages can be dropped.
func (l *log) droppable() int64 {
	if len(l.blocks) < 3 {
		return 0
	}
	return l.memory - l.blocks[0].memory() - l.blocks[len(l.blocks)-1].memory()
}

// drop drops the oldest block after the first, unless it is the newest. It returns the
// number of messages and bytes.
func (l *log) drop() (n uint64, memory int64) {
	if len(l.blocks) < 3 {
		return 0, 0
	}
	b := l.blocks[1]
	copy(l.blocks[1:], l.blocks[2:])
	l.blocks[len(l.blocks)-1] = nil
	l.blocks = l.blocks[:len(l.blocks)-1]
	n, memory = uint64(len(b.messages)), b.memory()
	if l.redacted != nil {
		for p := b.first; p < b.first+n; p++ {
			for _, path := range l.redacted[p] {
				memory += int64(len(path)) + redactedMemory
			}
			delete(l.redacted, p)
		}
	}
	l.dropped += n
	l.memory -= memory
	return n, memory
}

// Message is a message of a call.
type Message struct {
	Position   uint64 // in the call, from 0
	FromServer bool
	Time       time.Time
	Since      time.Duration // since the message before, which may be dropped; 0 for the first
	Size       int64         // as sent, in bytes
	Data       []byte        // as sent, up to MaxBody or LongBody bytes; not to be changed
	Encoding   string        // of Data
	Whole      bool          // Data is the whole message and isn't compressed
	Redacted   []string      // fields that Data has lost
}

// read calls f with the messages from a position on, except for dropped ones, until f returns
// false.
func (l *log) read(from uint64, f func(*Message) bool) {
	for _, b := range l.blocks {
		if b.first+uint64(len(b.messages)) <= from {
			continue
		}
		previous := b.previous
		for i, e := range b.messages {
			m := &Message{
				Position: b.first + uint64(i), FromServer: e.byServer, Time: time.Unix(0, e.at), Size: e.size,
				Data: b.data[e.offset : e.offset+e.length : e.offset+e.length], Whole: e.isWhole,
			}
			if m.Position > 0 {
				m.Since = time.Duration(max(0, e.at-previous))
			}
			previous = e.at
			if m.Position < from {
				continue
			}
			if e.isCompressed {
				m.Encoding = l.encodings[direction(e.byServer)]
			}
			m.Redacted = l.redacted[m.Position]
			if !f(m) {
				return
			}
		}
	}
}
