package inspect

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/commands/web"
	"github.com/wstun/wstun/tunnel/trace"
	"github.com/wstun/wstun/tunnel/tunneltest/browser"
)

// serveGuarded serves a handler as wstun does, with the token "t0ken".
func serveGuarded(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	guard := &web.Guard{Loopback: true, Token: func() string { return "t0ken" }, OpenPaths: Paths()}
	server := httptest.NewServer(guard.Handler(h))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server
}

// openPage opens the page of a handler in a browser.
func openPage(t *testing.T, h http.Handler) *browser.Page {
	t.Helper()
	p := browser.Open(t, serveGuarded(t, h).URL+"/#token=t0ken")
	p.Wait(`window.inspector?.store.connected && inspector.store.info.boot`)
	return p
}

// rows has the visible rows of a list. Hidden ones are spare.
func rows(list string) string {
	return fmt.Sprintf(`[...document.querySelectorAll("%s .vlist .row")].filter(r => !r.hidden)`, list)
}

func TestPageCalls(t *testing.T) {
	e := newEnv(t, 1, Options{Role: "dial"})
	p := openPage(t, e)
	p.Wait(`document.querySelector("#calls .empty")?.innerText.includes("No session")`)

	const evil = `<img src=x onerror=alert(1)>` + "\u202e"
	if err := e.key(0, evil); err != nil {
		t.Fatal(err)
	}
	shown := time.Now()
	p.Wait(rows("#calls") + `.length === 1`)
	t.Logf("the call appeared after %v", time.Since(shown))
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer t0psecret", "x-request-id", "7f3e")
	_, err := e.clients[0].CreateKey(ctx, &demo.CreateKeyRequest{Name: evil})
	if err == nil {
		t.Fatal("two keys of the same name")
	}
	p.Wait(`document.querySelector("#nerr").innerText === "1"`)

	p.Press("ek") // errors, the last one
	p.Wait(`document.querySelector("#detail .why").innerText.includes("already exists")`)
	p.Press("2")
	p.Wait(`document.querySelector("#pane").innerText.includes("google.rpc.ResourceInfo")`)
	text := p.Text("#pane")
	for _, want := range []string{"x-request-id\t7f3e", "authorization\t[redacted]", `<img src=x onerror=alert(1)>\u202e`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the metadata: %q", want, text)
		}
	}
	p.Press("3")
	p.Wait(`document.querySelector("#pane").innerText.includes("Half-close")`)
	p.Press("a1gl")
	p.Wait(rows(".messages") + `.length === 2 && document.querySelector(".body").innerText.includes("onerror")`)

	e.Store().Event(&trace.Event{Type: trace.ClientHeader, Call: 100, Method: "/evil.S/" + evil, IsGRPC: true, Time: time.Now()})
	p.Wait(rows("#calls") + `.length === 3`)
	var images, leaks int
	p.Eval(`document.querySelectorAll("img, [onerror]").length`, &images)
	p.Eval(`["t0psecret", "\u202e"].filter(s => document.body.innerText.includes(s) || document.body.outerHTML.includes(s)).length`, &leaks)
	if images > 0 || leaks > 0 {
		t.Errorf("%d elements made of a peer's text, %d leaks of secret or hidden text", images, leaks)
	}
}

func TestPageFilter(t *testing.T) {
	p := openPage(t, newEnv(t, 0, Options{}))
	p.Eval(`import("./filter.js").then(m => { window.parse = m.parse; window.forServer = m.forServer; })`, nil)
	const call = `{id: 1, method: "/a.b.Hub/CreateKey", kind: "unary", origin: "page", session: 2, start: 1000, end: 1600, ms: 600, code: "NOT_FOUND", message: "no such thing"}`
	for q, want := range map[string]bool{
		"": true, "create": true, "Hub/*": true, "*Keys": false, "a.b.Hub/CreateKey": true, "Hub/Create???": true, "thing": true,
		"!create": false, "!Health": true, "status=NOT_FOUND": true, "status!=NotFound": false, "status=ok": false, ">500ms": true, "<500ms": false, ">0.5s": true,
		"s2": true, "s1": false, "is:open": false, "is:unary": true, "is:page": true, "create >1s": false, "(": false,
	} {
		var got bool
		p.Eval(fmt.Sprintf(`parse(%q).test(%s)`, q, call), &got)
		if got != want {
			t.Errorf("%q matches: %v, want %v", q, got, want)
		}
	}
	var got string
	p.Eval(`forServer("Watch !Health Hub/* status!=OK >1s s1 is:open $.name=z")`, &got)
	if want := "*Watch* !*Health* Hub/* status!=OK >1s s1 $.name=z"; got != want {
		t.Errorf("for the server: %q, want %q", got, want)
	}
}

// TestPageRemoteFilter filters by a field of messages, which only the server can.
func TestPageRemoteFilter(t *testing.T) {
	e := newEnv(t, 1, Options{})
	for _, name := range []string{"alpha", "beta"} {
		if err := e.key(0, name); err != nil {
			t.Fatal(err)
		}
	}
	p := openPage(t, e)
	p.Wait(rows("#calls") + `.length === 2`)
	p.Fill("#filter", "$.name=be*")
	p.Wait(rows("#calls") + `.length === 1`)
	p.Press("\r1")
	p.Wait(`document.querySelector(".body").innerText.includes("beta")`)
	p.AllowProblems() // the answers of status 400
	p.Fill("#filter", "$.name=[")
	p.Wait(`document.querySelector("#calls .empty")?.innerText.includes("filter isn")`)
}

// watchKeys opens a Watch of the Hub's keys in a session until the test ends.
func (e *env) watchKeys(session int) {
	e.t.Helper()
	stream, err := e.clients[session].WatchKeys(e.t.Context(), &demo.WatchKeysRequest{})
	if err != nil {
		e.t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		e.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if _, err := stream.Recv(); err != nil {
				return
			}
		}
	}()
	e.t.Cleanup(func() { <-done })
}

func TestPageWatch(t *testing.T) {
	e := newEnv(t, 1, Options{})
	e.watchKeys(0)
	p := openPage(t, e)
	p.Wait(`inspector.store.open.length === 1`)
	p.Press("kl")
	p.Wait(rows(".messages") + `.length === 2`)
	const received = `Number(document.querySelector(".messages .vlist").getAttribute("aria-rowcount"))`

	// Following, each message appears as it passes.
	for i := range 30 {
		if err := e.key(0, fmt.Sprintf("key-%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	p.Wait(received + ` === 32`)
	p.Wait(`(r => r && r.innerText.includes("key-29"))(` + rows(".messages") + `.find(r => r.index === 31))`)

	// A selected row stays where it is while others are added.
	p.Press("g")
	p.Wait(`document.querySelector(".messages .row.sel")?.index === 0`)
	for i := range 1000 {
		if err := e.key(0, fmt.Sprintf("more-%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	p.Wait(received + ` === 1032`)
	p.Wait(`document.querySelector(".messages .newer").innerText === "1000 newer ↓"`)
	var top float64
	p.Eval(`document.querySelector(".messages .vlist").scrollTop`, &top)
	if selected := p.Text(".messages .row.sel"); top != 0 || !strings.Contains(selected, "{") || !strings.Contains(p.Text(".bhead"), "#1") {
		t.Errorf("scrolled to %v with the row %q selected, want the first", top, selected)
	}

	// Far away rows are loaded.
	p.Press("G")
	p.Wait(`(r => r && r.innerText.includes("more-999"))(` + rows(".messages") + `.find(r => r.index === 1031))`)

	// The search is live.
	p.Press("/")
	p.Press("more-99")
	p.Wait(received + ` === 11`)
	if err := e.key(0, "more-99x"); err != nil {
		t.Fatal(err)
	}
	p.Wait(received + ` === 12`)
	p.Wait(`document.querySelector(".mbar .muted").innerText === "12 of 1033 match"`)
	p.Press("\x1b")
	p.Wait(received + ` === 1033`)

	// d compares with the message before.
	p.Press("d")
	p.Wait(`document.querySelector(".body .plus")?.innerText.includes("more-99x")`)
	p.Press("d")

	// A pause loses nothing.
	p.Press("p")
	for i := range 50 {
		if err := e.key(0, fmt.Sprintf("paused-%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	p.Wait(`document.querySelector("#kept").innerText.includes("50 since the pause")`)
	p.Wait(`(c => c.up.n + c.down.n === 1083)(inspector.store.open[0])`) // its watchers may come after the calls
	var n int
	p.Eval(received, &n)
	if n != 1033 {
		t.Errorf("%d messages while paused, want 1033", n)
	}
	p.Press("hjk1") // a call that is selected while paused has its messages
	p.Wait(received + ` === 1083`)
	p.Press("p")
	for i := range 10 {
		if err := e.key(0, fmt.Sprintf("after-%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	p.Wait(received + ` === 1093`)
}

// TestPageHidden hides the page: it lets go of its connection, and misses nothing.
func TestPageHidden(t *testing.T) {
	e := newEnv(t, 1, Options{})
	p := openPage(t, e)
	hide := func(hidden bool) {
		p.Eval(fmt.Sprintf(`Object.defineProperty(document, "hidden", {value: %v, configurable: true}); document.dispatchEvent(new Event("visibilitychange"))`, hidden), nil)
	}
	for round := range 3 {
		hide(true)
		for i := range 10 {
			if err := e.key(0, fmt.Sprintf("key-%d-%d", round, i)); err != nil {
				t.Fatal(err)
			}
		}
		hide(false)
		p.Wait(fmt.Sprintf(`inspector.store.calls.length === %d && new Set(inspector.store.calls.map(c => c.id)).size === %[1]d`, 10*(round+1)))
	}
}

// TestPageRestart replaces the process: the page shows the calls of the new one.
func TestPageRestart(t *testing.T) {
	before, after := newEnv(t, 1, Options{}), newEnv(t, 1, Options{})
	var current atomic.Pointer[env]
	current.Store(before)
	p := openPage(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { current.Load().ServeHTTP(w, r) }))
	p.AllowProblems()
	for i := range 3 {
		if err := before.key(0, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	p.Wait(rows("#calls") + `.length === 3`)
	p.Press("k")
	if err := after.key(0, "new"); err != nil {
		t.Fatal(err)
	}
	current.Store(after)
	before.Close()
	p.Wait(rows("#calls") + `.length === 1 && document.querySelector("#detail .dview").hidden`)
}

func TestPageCopy(t *testing.T) {
	e := newEnv(t, 1, Options{})
	if err := e.key(0, "it's"); err != nil {
		t.Fatal(err)
	}
	p := openPage(t, e)
	p.Eval(`navigator.clipboard.writeText = async s => { window.copied = s; }`, nil)
	p.Wait(rows("#calls") + `.length === 1`)
	for key, as := range map[string]string{"c": "grpcurl", "C": "wstun"} {
		p.Press("k" + key)
		want := e.get("calls/1/command?as=" + as)
		p.Wait(fmt.Sprintf(`window.copied === %q && document.querySelector("#say").innerText === %q`, want, as+" command copied"))
	}
}

// TestPageExport saves the calls that the filter shows.
func TestPageExport(t *testing.T) {
	e := newEnv(t, 1, Options{})
	if err := e.key(0, "exported"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.clients[0].DeleteKey(t.Context(), &demo.DeleteKeyRequest{Name: "exported"}); err != nil {
		t.Fatal(err)
	}
	p := openPage(t, e)
	p.Wait(rows("#calls") + `.length === 2`)
	p.Eval(`URL.createObjectURL = blob => { blob.text().then(s => { window.saved = s; }); return "#"; }`, nil)
	p.Fill("#filter", "createkey")
	p.Press("\rx")
	p.Wait(`window.saved?.includes("CreateKey")`)
	var deleted bool
	p.Eval(`saved.includes("DeleteKey")`, &deleted)
	if deleted {
		t.Error("the recording has calls that the filter hides")
	}
}

// TestPageKeys moves by keys alone.
func TestPageKeys(t *testing.T) {
	e := newEnv(t, 1, Options{})
	for i := range 5 {
		if err := e.key(0, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	p := openPage(t, e)
	p.Wait(rows("#calls") + `.length === 5`)
	p.Press("gjj")
	p.Wait(`document.querySelector("#calls .row.sel").index === 2`)
	p.Press("?")
	p.Wait(`document.querySelector("#keys").open`)
	p.Press("j?")
	p.Wait(`!document.querySelector("#keys").open && document.querySelector("#calls .row.sel").index === 2`)
	var before, after string
	p.Eval(`getComputedStyle(document.body).backgroundColor`, &before)
	p.Press("t")
	p.Eval(`getComputedStyle(document.body).backgroundColor`, &after)
	if before == after {
		t.Errorf("the background is %s in both themes", before)
	}
	p.Press("/nothing")
	p.Wait(rows("#calls") + `.length === 0 && document.querySelector("#calls .empty").innerText.includes("No call matches")`)
	p.Press("\x1b")
	p.Wait(rows("#calls") + `.length === 5`)
	p.Press("\x1b")
	p.Press("s")
	p.Wait(`document.querySelector(".services tbody")?.innerText.includes("CreateKey")`)
	var nameless []string
	p.Eval(`[...document.querySelectorAll("button, input, select, textarea, section, [role=grid], [role=tab], [role=group], [tabindex]")].filter(e => !e.closest("[hidden]") && e.ariaHidden !== "true" &&
		!(e.innerText || e.ariaLabel || e.title || e.labels?.[0]?.innerText || e.getAttribute("aria-labelledby"))).map(e => e.outerHTML)`, &nameless)
	if len(nameless) > 0 {
		t.Errorf("without a name: %q", nameless)
	}
}
