package inspect

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/wstun/wstun/tunnel/tunneltest/browser"
)

func TestPagePolicy(t *testing.T) {
	p := openPage(t, newEnv(t, 0, Options{}))
	p.AllowProblems() // the browser reports each refusal as one
	var allowed []string
	p.Eval(`[["innerHTML", () => { document.body.innerHTML = "<b>x</b>"; }],
		["a style attribute", () => { document.body.setAttribute("style", "opacity: 0.5"); if (getComputedStyle(document.body).opacity === "1") throw 0; }],
		["an inline script", () => { const s = document.createElement("script"); s.textContent = "window.ran = 1"; document.head.append(s); if (!window.ran) throw 0; }],
	].filter(([name, attempt]) => { try { attempt(); return true; } catch { return false; } }).map(a => a[0])`, &allowed)
	if len(allowed) > 0 {
		t.Errorf("allowed: %q", allowed)
	}
}

// TestPageToken checks that the token doesn't stay in the URL, and that the page says what
// is missing without one.
func TestPageToken(t *testing.T) {
	server := serveGuarded(t, newEnv(t, 0, Options{}))
	p := browser.Open(t, server.URL+"/#token=t0ken")
	p.Wait(`window.inspector?.store.connected && location.hash === ""`)
	p.Navigate(server.URL) // in the same tab
	p.Wait(`window.inspector?.store.connected`)
	p = browser.Open(t, server.URL)
	p.AllowProblems()
	p.Wait(`document.querySelector("#calls .empty")?.innerText.includes("want the token")`)
}

// TestPageAttack attacks from pages of another port and of a rebound name, which even know
// the token: no request may reach the handler.
func TestPageAttack(t *testing.T) {
	var reached atomic.Int64
	e := newEnv(t, 0, Options{})
	server := serveGuarded(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		e.ServeHTTP(w, r)
	}))
	attacker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!doctype html><title>attacker</title>")
	}))
	t.Cleanup(attacker.Close)
	const attack = `(async url => {
		const headers = {Authorization: "Bearer t0ken"}, done = [];
		const attempt = async (name, f) => { try { const r = await f(); if (r) done.push(name + " " + r); } catch {} };
		const element = (tag, attributes) => new Promise((ok, fail) => {
			const e = Object.assign(document.createElement(tag), attributes, {onload: () => ok("loaded"), onerror: fail});
			document.body.append(e);
		});
		await attempt("fetch", async () => (await fetch(url + "/api/v1/", {headers})).text());
		await attempt("no-cors", async () => (await fetch(url + "/api/v1/", {mode: "no-cors"})).text());
		await attempt("post", async () => (await fetch(url + "/api/v1/calls", {method: "POST", headers: {...headers, "Content-Type": "application/json"}, body: "{}"})).text());
		await attempt("form", async () => (await fetch(url + "/api/v1/calls", {method: "POST", mode: "no-cors", headers: {"Content-Type": "text/plain"}, body: "{}"})).text());
		await attempt("script", () => element("script", {src: url + "/main.js"}));
		await attempt("image", () => element("img", {src: url + "/icon.svg"}));
		await attempt("frame", async () => { const e = document.createElement("iframe"); e.src = url; document.body.append(e); await new Promise(ok => { e.onload = ok; }); return e.contentDocument?.querySelector("#top") && "read"; });
		return done;
	})(%q)`
	port := server.URL[strings.LastIndexByte(server.URL, ':'):]
	attackerPort := attacker.URL[strings.LastIndexByte(attacker.URL, ':'):]
	for _, from := range []string{attacker.URL, "http://evil.test" + attackerPort} {
		p := browser.Open(t, from)
		p.AllowProblems() // the browser reports each refusal as one
		for _, url := range []string{server.URL, "http://evil.test" + port} {
			var done []string
			p.Eval(fmt.Sprintf(attack, url), &done)
			if n := reached.Swap(0); len(done) > 0 || n > 0 {
				t.Errorf("from %s, %s: %d requests reached the handler; done: %q", from, url, n, done)
			}
		}
	}
	p := browser.Open(t, "http://evil.test"+port)
	p.AllowProblems()
	p.Wait(`document.body.innerText.includes("Host")`)
	if n := reached.Load(); n > 0 {
		t.Errorf("%d requests reached the handler from a rebound name", n)
	}

	// But a link to the page works.
	p = browser.Open(t, attacker.URL)
	p.Eval(fmt.Sprintf(`location.href = %q`, server.URL+"/#token=t0ken"), nil)
	p.Wait(`window.inspector?.store.connected`)
}
