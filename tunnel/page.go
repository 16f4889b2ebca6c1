package tunnel

import (
	"bytes"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// isHTML reports whether body is the beginning of an HTML page.
func isHTML(header http.Header, body []byte) bool {
	return strings.Contains(strings.ToLower(header.Get("Content-Type")), "html") ||
		strings.HasPrefix(http.DetectContentType(body), "text/html")
}

// pageText returns the title of an HTML page, and the text that the page shows, each on
// one line. It leaves out parts that only repeat one of statuses, such as "403 Forbidden".
func pageText(page []byte, statuses ...string) (title, text string) {
	repeated := append([]string{""}, statuses...)
	for _, status := range statuses {
		code, reason, _ := strings.Cut(status, " ")
		repeated = append(repeated, code, reason)
	}
	var shown []string
	var element atom.Atom // the last start tag, unless its element has ended
	for z := html.NewTokenizer(bytes.NewReader(page)); ; {
		kind := z.Next()
		token := z.Token()
		switch kind {
		case html.ErrorToken:
			return title, strings.Join(shown, " ")
		case html.StartTagToken:
			element = token.DataAtom
		case html.EndTagToken:
			element = 0
		case html.TextToken:
			line := strings.Join(strings.Fields(token.Data), " ")
			switch {
			case slices.Contains(repeated, line), element == atom.Script, element == atom.Style:
			case element == atom.Title:
				title = line
			default:
				shown = append(shown, line)
			}
		}
	}
}
