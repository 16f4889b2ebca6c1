package shell

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/wstun/wstun/tunnel/escape"
)

// The prompts outside calls, and of lines that continue a command.
const (
	prompt       = "wstun> "
	continuation = "  ...> "
)

// readLine reads a command, or the messages of a call. It continues after a line that ends
// with a backslash, which is removed with the line break, and until the braces of its JSON
// are closed. With ErrInterrupted it returns the discarded text.
func (s *Shell) readLine(ctx context.Context) (string, error) {
	defer s.setPartial(nil)
	var text []byte
	var line string // the last one, which backslashes may continue
	open := 0       // braces
	for first := true; ; first = false {
		part, err := s.Input.ReadLine(ctx)
		switch {
		case errors.Is(err, io.EOF) && !first:
			return string(text) + line, nil
		case err != nil:
			return string(text) + line + part, err
		}
		if s.linesRead++; first {
			s.lineNumber = s.linesRead
		}
		part, joined := strings.CutSuffix(part, `\`)
		if line += part; !joined {
			data := line
			if len(text) == 0 {
				data = s.dataIn(line)
			}
			change, isJSON := countBraces(data)
			open += change
			text = append(text, line...)
			if line = ""; !isJSON || open <= 0 {
				s.Input.Remember(oneLine(string(text)))
				return string(text), nil
			}
			text = append(text, '\n')
		}
		s.setPartial(append(text, line...))
	}
}

// oneLine joins the lines of JSON with spaces in place of the white space between them.
func oneLine(text string) string {
	first, rest, _ := strings.Cut(text, "\n")
	var b strings.Builder
	b.WriteString(first)
	for line := range strings.Lines(rest) {
		b.WriteString(" " + strings.TrimSpace(line))
	}
	return b.String()
}

// dataIn returns the JSON in the first line of a command or of messages.
func (s *Shell) dataIn(line string) string {
	word, rest := cutWord(line)
	inStream := s.currentStream() != nil
	switch {
	case word == "call" && !inStream:
		_, data := cutWord(rest)
		return data
	case inStream && word == ".send":
		return rest
	case inStream && !strings.HasPrefix(word, ".") && !strings.HasPrefix(word, "#"):
		return line
	}
	return ""
}

// countBraces returns how many more braces and brackets a line of JSON opens than it closes.
// It returns false if the line ends in a string, which can't have line breaks.
func countBraces(line string) (open int, ok bool) {
	for {
		i := outsideStrings(line, `{}[]">`)
		if i < 0 || line[i] == '>' { // the name of a file follows
			return open, true
		}
		switch line[i] {
		case '{', '[':
			open++
		case '}', ']':
			open--
		case '"':
			return open, false
		}
		line = line[i+1:]
	}
}

// outsideStrings returns the index of the first of chars in text that isn't in a JSON string,
// -1 if there is none. A quote is only that of a string without an end.
func outsideStrings(text, chars string) int {
	for i := 0; i < len(text); i++ {
		if text[i] == '"' {
			n, complete := scalar(text[i:])
			if complete {
				i += n - 1
				continue
			}
			if !strings.Contains(chars, `"`) {
				return -1
			}
		}
		if strings.IndexByte(chars, text[i]) >= 0 {
			return i
		}
	}
	return -1
}

// setPartial sets the text of a command whose last line isn't read yet.
func (s *Shell) setPartial(text []byte) {
	s.mu.Lock()
	changed := (len(text) == 0) != (len(s.partial) == 0)
	s.partial = text
	s.mu.Unlock()
	if changed {
		s.setPrompt()
	}
}

// setStream sets the current stream, and the prompt.
func (s *Shell) setStream(st *stream) {
	s.mu.Lock()
	s.stream = st
	s.mu.Unlock()
	s.setPrompt()
}

// setPrompt sets the prompt for the next line.
func (s *Shell) setPrompt() {
	s.mu.Lock()
	text := prompt
	switch {
	case len(s.partial) > 0:
		text = continuation
	case s.stream != nil:
		text = escape.Line(string(s.stream.method.Name())) + "> "
	}
	s.mu.Unlock()
	s.Input.SetPrompt(text)
}
