package recording

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Version is the version of the format.
const Version = 1

// maxLine is the length of the longest line that is read, in bytes: a message of 64 MiB
// has 86 MiB in base64, and may be there twice.
const maxLine = 256 << 20

// ErrNotRecording says that there is no recording in a file.
var ErrNotRecording = errors.New("not a recording of wstun")

// errPcapng is ErrNotRecording for a file for Wireshark.
var errPcapng = fmt.Errorf("a pcapng file, which Wireshark reads, and %w", ErrNotRecording)

// Reader reads the lines of a recording, or of a trace in JSON.
type Reader struct {
	// Version and Lines are those so far: the version of the recording, 0 if it isn't
	// one, and the number of lines of any kind.
	Version, Lines int

	text  *bufio.Reader
	lines *bufio.Scanner // of text
}

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader {
	text := bufio.NewReader(r)
	s := bufio.NewScanner(text)
	s.Buffer(make([]byte, 0, 64<<10), maxLine)
	return &Reader{text: text, lines: s}
}

// Detect reports whether text is a recording, and no other file such as YAML: it begins with
// an object in JSON, and has a line with the header. It may be of a later version.
func Detect(text []byte) bool {
	if !bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		return false
	}
	r := NewReader(bytes.NewReader(text))
	for r.Version == 0 {
		if _, err := r.Next(); err != nil {
			return !errors.Is(err, io.EOF) && !errors.Is(err, ErrNotRecording)
		}
	}
	return true
}

// Next returns the next line, or [io.EOF]. It skips lines that aren't JSON objects with an
// event, such as log lines and the torn last line of a process that was killed. Other
// errors are those of reading, and that of a recording of a later version.
func (r *Reader) Next() (*Line, error) {
	if r.Lines == 0 {
		if magic, _ := r.text.Peek(4); string(magic) == "\n\r\r\n" { // sectionBlock
			return nil, errPcapng
		}
	}
	for r.lines.Scan() {
		r.Lines++
		l := parse(r.lines.Bytes())
		if l == nil {
			continue
		}
		if l.Event == HeaderLine {
			if l.Version > Version {
				return nil, fmt.Errorf("a recording of version %d: this wstun reads version %d; a newer one is needed", l.Version, Version)
			}
			r.Version = max(1, l.Version)
		}
		return l, nil
	}
	if err := r.lines.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return nil, fmt.Errorf("line %d is longer than %d MiB: %w", r.Lines+1, maxLine>>20, ErrNotRecording)
		}
		return nil, err
	}
	return nil, io.EOF
}

// parse returns the line with this text, or nil if it isn't a JSON object with an event.
func parse(text []byte) *Line {
	text = bytes.TrimSpace(text)
	if len(text) == 0 || text[0] != '{' {
		return nil
	}
	l := &Line{}
	if json.Unmarshal(text, l) != nil || l.Event == "" {
		return nil
	}
	return l
}
