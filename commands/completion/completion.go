// Package completion connects a shell's Tab key with wstun: it has a script for each
// shell, the protocol between the scripts and wstun, and a cache.
//
//	script, ok := completion.Script("bash") // the user's shell sources it
//
//	words := completion.Words("bash", os.Args[3:]) // for wstun __complete bash WORD…
//	answer := completion.Answer{Candidates: …}
//	answer.WriteTo(os.Stdout)
//
// A script runs wstun __complete with the name of its shell and the words of the command
// line up to the cursor. The last word is the one to complete, and may be empty.
// [Answer.WriteTo] describes the output.
//
// Names from a server are not trusted: Answer.WriteTo leaves out those with characters that
// a terminal would interpret or hide, and those that a script would take for a directive.
package completion

import (
	"embed"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/wstun/wstun/tunnel/escape"
)

// Shells are the shells that Script supports.
var Shells = []string{"bash", "zsh", "fish", "powershell"}

//go:embed wstun.*
var scripts embed.FS

// Script returns the script that makes shell complete wstun's command lines, false if
// shell isn't supported.
func Script(shell string) (string, bool) {
	extension := shell
	if shell == "powershell" {
		extension = "ps1"
	}
	text, err := scripts.ReadFile("wstun." + extension)
	return string(text), err == nil
}

// Words returns the arguments that wstun would get for the raw words from a shell's
// script.
func Words(shell string, raw []string) []string {
	words := make([]string, len(raw))
	for i, word := range raw {
		switch shell {
		case "bash", "zsh": // as typed
			word = unquote(word, os.LookupEnv)
		case "fish": // without quotes, but with variables
			word = expand(word, os.LookupEnv)
		case "powershell": // with a leading dot: some versions leave out empty words
			word = strings.TrimPrefix(word, ".")
		}
		words[i] = word
	}
	return words
}

// Candidate is a text that may replace the word to complete.
type Candidate struct {
	Text        string
	Description string // may be empty
}

// Paths says which paths the shell completes by itself.
type Paths string

// The kinds of paths.
const (
	NoPaths Paths = ""
	Files   Paths = "files"
	Folders Paths = "folders"
)

// Answer is the completion of a word.
type Answer struct {
	Candidates []Candidate // all begin with the word

	// Paths are completed in addition to Candidates. The word begins with Prefix,
	// and the path follows it.
	Paths  Paths
	Prefix string
}

// WriteTo writes a line for each candidate: its text, and, if it has a description, a tab
// and the description. A line ":files PREFIX" or ":folders PREFIX" asks the shell to
// complete paths. WriteTo leaves out candidates that contain a tab or a character that
// [escape.Line] escapes, or begin with a colon.
func (a *Answer) WriteTo(w io.Writer) (int64, error) {
	var text strings.Builder
	for _, c := range a.Candidates {
		line := c.Text + c.Description
		if c.Text == "" || strings.HasPrefix(c.Text, ":") || strings.Contains(line, "\t") || escape.Line(line) != line {
			continue
		}
		text.WriteString(c.Text)
		if c.Description != "" {
			text.WriteString("\t" + c.Description)
		}
		text.WriteByte('\n')
	}
	if a.Paths != NoPaths && escape.Line(a.Prefix) == a.Prefix {
		fmt.Fprintf(&text, ":%s %s\n", a.Paths, a.Prefix)
	}
	n, err := io.WriteString(w, text.String())
	return int64(n), err
}
