// Package yamlfile parses YAML files that people write, and collects their mistakes with the
// lines.
//
//	f := yamlfile.File{Name: "hub.yaml"}
//	root := f.Parse(text)
//	…
//	f.Errorf(node.Line, "unknown key %s", yamlfile.Quote(key))
//	err := f.Err()
package yamlfile

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/wstun/wstun/reflection/suggest"
)

// maxMistakes bounds the mistakes that a File collects.
const maxMistakes = 10

// A File collects the mistakes in one file.
type File struct {
	Name string // in errors; empty: their caller names the file

	mistakes []mistake
}

// A mistake is an error with its line.
type mistake struct {
	line int
	text string
}

// Errorf records a mistake, unless the file is full.
func (f *File) Errorf(line int, format string, args ...any) {
	if !f.Full() {
		f.mistakes = append(f.mistakes, mistake{line, fmt.Sprintf(format, args...)})
	}
}

// Mistakes returns the number of mistakes so far.
func (f *File) Mistakes() int { return len(f.mistakes) }

// Full reports whether there are ten mistakes, so that parsing can stop.
func (f *File) Full() bool { return len(f.mistakes) >= maxMistakes }

// Err joins (see [errors.Join]) an error "NAME:LINE: TEXT" for each mistake, in the order of
// the lines. Without a name it is one error, "line LINE: TEXT; line LINE: TEXT". It is nil
// without mistakes.
func (f *File) Err() error {
	slices.SortStableFunc(f.mistakes, func(a, b mistake) int { return cmp.Compare(a.line, b.line) })
	var errs []error
	var texts []string
	for _, m := range f.mistakes {
		errs = append(errs, fmt.Errorf("%s:%d: %s", f.Name, m.line, m.text))
		texts = append(texts, fmt.Sprintf("line %d: %s", m.line, m.text))
	}
	if f.Name == "" && len(texts) > 0 {
		return errors.New(strings.Join(texts, "; "))
	}
	return errors.Join(errs...)
}

// Truncate shortens a text from the file for use in an error.
func Truncate(s string) string {
	const limit = 200
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

// Quote quotes and shortens a text from the file for use in an error.
func Quote(s string) string { return fmt.Sprintf("%q", Truncate(s)) }

// DidYouMean returns the end of an error about an unknown name: the most similar name,
// or "".
func DidYouMean(name string, names []string) string {
	if near := suggest.Near(name, names); len(near) > 0 {
		return fmt.Sprintf("; did you mean %q?", near[0])
	}
	return ""
}
