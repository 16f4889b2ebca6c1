package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(Tests{M: m}) }

func TestPage(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<!doctype html><p>text<p hidden>hidden</p><input onkeydown="if (event.key === 'x') event.preventDefault()">
			<button onclick="this.textContent = 'clicked'; throw new Error('thrown')">button</button><img src="missing">`)
	}))
	t.Cleanup(server.Close)
	p := Open(t, server.URL)
	if got := p.Text("p"); got != "text" {
		t.Errorf("the text is %q", got)
	}
	p.Fill("input", "axb\bc")
	var value string
	if p.Eval(`document.querySelector("input").value`, &value); value != "ac" {
		t.Errorf("the input has %q, want ac", value)
	}
	p.Click("button")
	p.Wait(`document.querySelector("button").innerText === "clicked"`)
	if problems := fmt.Sprint(p.Problems()); !strings.Contains(problems, "Error: thrown") || !strings.Contains(problems, "404") {
		t.Errorf("the problems are %s", problems)
	}
}
