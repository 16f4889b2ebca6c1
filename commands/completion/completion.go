// Package completion is what is between a shell and wstun when the user presses Tab:
// a script for each shell, the language that the scripts and wstun speak, and a cache.
//
//	script, ok := completion.Script("bash") // for the user's shell to read
//
//	words := completion.Words("bash", os.Args[3:]) // at Tab: wstun __complete bash WORD…
//	answer := completion.Answer{Candidates: …}
//	answer.WriteTo(os.Stdout)
//
// A script runs wstun __complete with the name of its shell and the words of the
// command line up to the cursor, of which the last is the one to complete and may be
// empty. What comes back is described at [Answer.WriteTo].
//
// Names that come from a server are not trusted: nothing that could mean something to
// a terminal or to a script is written.
package completion

import (
	"embed"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
)

// Shells are the names of those that there are scripts for.
var Shells = []string{"bash", "zsh", "fish", "powershell"}

//go:embed wstun.*
var scripts embed.FS

// Script returns the script that a shell reads to complete wstun's command lines.
func Script(shell string) (string, bool) {
	extension := shell
	if shell == "powershell" {
		extension = "ps1"
	}
	text, err := scripts.ReadFile("wstun." + extension)
	return string(text), err == nil
}

// Words returns the words that a shell's script has handed over as the command would
// see them.
func Words(shell string, raw []string) []string {
	words := make([]string, len(raw))
	for i, word := range raw {
		switch shell {
		case "bash", "zsh": // as typed
			word = unquote(word, os.LookupEnv)
		case "fish": // without quotes, but with variables
			word = expand(word, os.LookupEnv)
		case "powershell": // with a dot before it: some versions leave out empty words
			word = strings.TrimPrefix(word, ".")
		}
		words[i] = word
	}
	return words
}

// Candidate is what may stand in the place of the word to complete.
type Candidate struct {
	Text        string
	Description string // may be empty
}

// Paths says what the shell is to complete by itself.
type Paths string

// What a shell completes.
const (
	NoPaths Paths = ""
	Files   Paths = "files"
	Folders Paths = "folders"
)

// Answer is how a word can be completed.
type Answer struct {
	Candidates []Candidate // that begin with what is there of the word

	// Paths are completed beside the candidates, behind Prefix, which is how the
	// word begins.
	Paths  Paths
	Prefix string
}

// WriteTo writes a line for each candidate: the word, and behind a tab its description
// if it has one. A line ":files PREFIX" or ":folders PREFIX" asks the shell to complete
// paths. Candidates that are no single line of such text are left out.
func (a *Answer) WriteTo(w io.Writer) (int64, error) {
	var text strings.Builder
	for _, c := range a.Candidates {
		if c.Text == "" || strings.HasPrefix(c.Text, ":") || strings.ContainsFunc(c.Text+c.Description, unicode.IsControl) {
			continue
		}
		text.WriteString(c.Text)
		if c.Description != "" {
			text.WriteString("\t" + c.Description)
		}
		text.WriteByte('\n')
	}
	if a.Paths != NoPaths && !strings.ContainsFunc(a.Prefix, unicode.IsControl) {
		fmt.Fprintf(&text, ":%s %s\n", a.Paths, a.Prefix)
	}
	n, err := io.WriteString(w, text.String())
	return int64(n), err
}
