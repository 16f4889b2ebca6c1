package shell

import (
	"fmt"
	"io"
	"unicode"
	"unicode/utf8"

	"github.com/wstun/wstun/tunnel/escape"
)

// searchHistory searches the history for the newest command that contains query, which the
// user can extend. Ctrl-R continues with an older one, and Ctrl-G gives up. Any other key ends
// the search and then acts on the command that was found.
func (t *Terminal) searchHistory(query string) string {
	original, at := query, t.History.find(query, 0)
	for {
		found := ""
		if at >= 0 {
			found = t.History.At(at)
		}
		t.setSearch(true, fmt.Sprintf("search '%s': %s", query, escape.Line(found)))
		key, err := t.keys.next()
		r, size := utf8.DecodeRuneInString(key)
		switch {
		case err == nil && r == ctrlR:
			older := t.History.find(query, at+1)
			if older < 0 {
				_, _ = io.WriteString(t.out, "\a")
				continue
			}
			at = older
		case err == nil && (r == del || r == ctrlH):
			_, last := utf8.DecodeLastRuneInString(query)
			query = query[:len(query)-last]
			at = t.History.find(query, 0)
		case err == nil && size == len(key) && unicode.IsPrint(r):
			query += key
			at = t.History.find(query, max(at, 0))
		default:
			t.setSearch(false, "")
			if r == ctrlG {
				return original
			}
			t.keys.pushFront(key)
			if at < 0 {
				return original
			}
			return found
		}
	}
}

// setSearch shows the prompt of a search, or that of lines.
func (t *Terminal) setSearch(on bool, prompt string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.searching = on; !on {
		prompt = t.prompt
	}
	t.showPrompt(prompt)
}
