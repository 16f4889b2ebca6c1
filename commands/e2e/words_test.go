//go:build unix

package e2e

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// banned are the words that make prose hard to read. A blank in an expression
// stands for any white space, also for the end of a comment's line.
var banned = []struct {
	word     *regexp.Regexp
	instead  string
	allow    *regexp.Regexp // nil: none; a match within a match of allow is allowed
	messages bool           // also in messages, not only in comments
}{
	{
		words(`behind`), "after, or the place itself",
		// a place in a network; to lag; to remain
		words(`behind( (an?|the|its|their))?( \w+)? (prox(y|ies)|NAT|firewalls?|load balancers?|WebSockets?|nginx|HAProxy)|(fall|falls|falling|fell|lags?|leave|leaves|leaving|left)( [\w.%]+){0,4} behind`), true,
	},
	{words(`(tak(e|es|en|ing)|took) notice`), "the reaction itself: ends, returns, wakes", nil, true},
	{words(`for ever`), "indefinitely, or a number", nil, true},
	{words(`anew`), "again", nil, true},
	{words(`mend(s|ed|ing)?`), "fix", nil, true},
	{words(`who(m|so)?ever|whom`), "the noun: the caller, the goroutine, the client", nil, true},
	{
		words(`who`), "the noun: the caller; after a program, that: a client that",
		// people, not programs
		words(`(users?|people|persons?|somebody|someone|anybody|anyone|everybody|everyone|nobody|engineers?|operators?|developers?|readers?|authors?|attackers?) who`), true,
	},
	{words(`what (comes?|came|is there|was there|there is|there was)`), "the thing: the request, the unread bytes", nil, true},
	{
		words(`what`), "the thing: the request, the unread bytes, the function that",
		// an indirect question
		words(`what (to|kinds? of)|no matter what|(say|says|said|explains?|decides?|determines?|depends? on|describes?) what`), false,
	},
	{words(`the way to`), "the thing: the client, the connection", words(`all the way to`), true},
	{words(`(told|tell|tells|telling) of`), "reports", nil, true},
	{words(`lest`), "so that … not", nil, true},
	{words(`for the rest`), "otherwise", words(`for the rest of`), true},
	{words(`no good`), "invalid, or the reason", nil, true},
	{words(`(comes?|came|becomes?|became) of`), "the thing: the result, the reply", nil, true},
	{words(`as good as`), "almost", nil, true},
}

func words(expr string) *regexp.Regexp {
	return regexp.MustCompile(`(?i)\b(` + strings.ReplaceAll(expr, " ", `\s+`) + `)\b`)
}

// quotation matches a quotation in a comment: its words are not the comment's.
var quotation = regexp.MustCompile("\"[^\"]*\"|`[^`]*`|“[^”]*”")

// TestWords fails for banned words in comments, and in messages, which are the
// string literals of more than one word outside tests.
func TestWords(t *testing.T) {
	skipWithRace(t)
	t.Parallel()
	if err := readSources(); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (path != "." && strings.HasPrefix(path, ".") || d.Name() == "node_modules"):
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, ".pb.go"): // generated
			return nil
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		prose := append(comments(files, file), messages(files, file)...)
		if strings.HasSuffix(path, "_test.go") {
			prose = comments(files, file)
		}
		for _, p := range prose {
			p.check(t, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// prose is a comment or a message, without the marks of either.
type prose struct {
	text    string
	lines   []int // for each byte of text its line in the file
	message bool
}

// add adds text that starts in a line of the file, and if multiline continues in
// the next ones.
func (p *prose) add(text string, line int, multiline bool) {
	for _, b := range []byte(text) {
		p.lines = append(p.lines, line)
		if multiline && b == '\n' {
			line++
		}
	}
	p.text += text
}

func (p *prose) check(t *testing.T, path string) {
	t.Helper()
	var found [][]int // the matches so far: a word is reported once, by the first entry that has it
	for _, b := range banned {
		if p.message && !b.messages {
			continue
		}
		var allowed [][]int
		if b.allow != nil {
			allowed = b.allow.FindAllStringIndex(p.text, -1)
		}
		for _, at := range b.word.FindAllStringIndex(p.text, -1) {
			within := func(span []int) bool { return span[0] <= at[0] && at[1] <= span[1] }
			overlaps := func(span []int) bool { return span[0] < at[1] && at[0] < span[1] }
			if !slices.ContainsFunc(allowed, within) && !slices.ContainsFunc(found, overlaps) {
				found = append(found, at)
				t.Errorf("%s:%d: %q: write %s", path, p.lines[at[0]], strings.Join(strings.Fields(p.text[at[0]:at[1]]), " "), b.instead)
			}
		}
	}
}

// comments returns a file's comments, without quotations and without lines of code.
func comments(files *token.FileSet, file *ast.File) []*prose {
	var list []*prose
	for _, group := range file.Comments {
		p := new(prose)
		for _, c := range group.List {
			text := strings.TrimPrefix(c.Text, "//")
			if !strings.HasPrefix(text, "\t") {
				p.add(text+"\n", files.Position(c.Pos()).Line, true)
			}
		}
		p.text = quotation.ReplaceAllStringFunc(p.text, func(q string) string { return strings.Repeat(".", len(q)) })
		list = append(list, p)
	}
	return list
}

// messages returns a file's string literals of more than one word. The literals
// of one expression, such as a sum, are one message.
func messages(files *token.FileSet, file *ast.File) []*prose {
	var list []*prose
	ast.Inspect(file, func(n ast.Node) bool {
		switch n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.BasicLit, *ast.BinaryExpr:
			p := &prose{message: true}
			ast.Inspect(n, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					text, _ := strconv.Unquote(lit.Value) // the parser has checked it
					p.add(text+" ", files.Position(lit.Pos()).Line, lit.Value[0] == '`')
				}
				return true
			})
			if len(strings.Fields(p.text)) > 1 {
				list = append(list, p)
			}
			return false
		}
		return true
	})
	return list
}
