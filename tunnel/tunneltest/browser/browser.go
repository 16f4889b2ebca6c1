// Package browser drives a real headless Chromium in tests.
//
//	page := browser.Open(t, server.URL)
//	page.Click("#services")
//	page.Wait(`document.querySelector("table")`)
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(browser.Tests{M: m}) }
//
// The tests of a process share one browser, which the first Open starts and Tests ends.
// Each Open is a tab of its own. Without a browser tests
// are skipped, or fail if WSTUN_BROWSER_TESTS=1. WSTUN_BROWSER is the path of the browser,
// if it isn't that of Chromium or Chrome.
//
// The names below .test are this host.
//
// Every method ends the test if it fails, or takes longer than 20 s.
package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

const patience = 20 * time.Second

// shared is the browser of this process.
var shared struct {
	mu      sync.Mutex
	started *chromium
	err     error
}

// chromium is a browser that runs.
type chromium struct {
	ctx  context.Context //nolint:containedctx // chromedp keeps a browser in a context
	stop func()
}

// Tests runs tests that open pages, and ends the browser after them.
type Tests struct{ *testing.M }

// Run runs the tests and returns the exit status. It waits until the browser's processes
// have ended and its files are removed, but not for long.
func (t Tests) Run() int {
	defer closeShared()
	return t.M.Run()
}

func closeShared() {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.started == nil {
		return
	}
	ctx, cancel := context.WithTimeout(shared.started.ctx, patience)
	defer cancel()
	_ = chromedp.Cancel(ctx) // stop kills the rest
	shared.started.stop()
	shared.started = nil
}

// path returns the path of the browser, or "".
func path() string {
	for _, name := range []string{os.Getenv("WSTUN_BROWSER"), "chromium", "chromium-browser", "google-chrome", "chrome"} {
		if name == "" {
			continue
		}
		if p, err := exec.LookPath(name); err == nil {
			return p
		}
	}
	return ""
}

// start returns the context of the browser, and starts it if needed.
func start(path string) (context.Context, error) {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.started == nil && shared.err == nil {
		shared.started, shared.err = startChromium(path)
	}
	if shared.err != nil {
		return nil, shared.err
	}
	return shared.started.ctx, nil
}

func startChromium(path string) (*chromium, error) {
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.DisableGPU, chromedp.Flag("hide-scrollbars", false),
		chromedp.Flag("host-resolver-rules", "MAP *.test 127.0.0.1"))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, cancel := chromedp.NewContext(allocator)
	b := &chromium{ctx, func() {
		cancel()
		stop()
	}}
	// The browser ends with the context of the first Do, so that has no timeout.
	started := make(chan error, 1)
	go func() { started <- chromedp.Do(ctx) }()
	select {
	case err := <-started:
		if err != nil {
			b.stop()
		}
		return b, err
	case <-time.After(patience):
		b.stop()
		return nil, fmt.Errorf("%s hasn't started within %v", path, patience)
	}
}

// Page is a tab of the browser.
type Page struct {
	t   *testing.T
	ctx context.Context //nolint:containedctx // chromedp keeps a tab in a context

	problemsAllowed bool

	mu       sync.Mutex
	problems []string
}

// Open opens a URL in a new tab of 1440 × 900 pixels, which is closed after the test. The
// test fails if the page throws an exception or logs an error that Problems hasn't returned,
// see also AllowProblems.
func Open(t *testing.T, url string) *Page {
	t.Helper()
	path := path()
	if path == "" {
		if os.Getenv("WSTUN_BROWSER_TESTS") == "1" {
			t.Fatal("no browser, but WSTUN_BROWSER_TESTS=1: install Chromium, or set WSTUN_BROWSER")
		}
		t.Skip("Chromium is not installed")
	}
	browser, err := start(path)
	if err != nil {
		t.Fatal(err)
	}
	p := &Page{t: t}
	var cancel func()
	p.ctx, cancel = chromedp.NewContext(browser, chromedp.WithListener(p.listen))
	t.Cleanup(func() {
		cancel()
		for _, problem := range p.Problems() {
			if !p.problemsAllowed {
				t.Errorf("the page: %s", problem)
			}
		}
	})
	// The tab ends with the context of the first Do, so that has no timeout.
	if err := chromedp.Do(p.ctx); err != nil {
		t.Fatal(err)
	}
	p.Resize(1440, 900)
	p.Navigate(url)
	return p
}

func (p *Page) listen(event any) {
	var problem string
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		problem = exception(e.ExceptionDetails)
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError {
			problem = e.Entry.Text + " " + e.Entry.URL
		}
	}
	if problem == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.problems = append(p.problems, problem)
}

func exception(e *runtime.ExceptionDetails) string {
	if e.Exception != nil && e.Exception.Description != "" {
		return e.Exception.Description
	}
	return e.Text
}

// Problems returns the exceptions and errors of the page since the last call.
func (p *Page) Problems() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	problems := p.problems
	p.problems = nil
	return problems
}

// do runs actions, for a limited time.
func (p *Page) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	p.call(func(ctx context.Context) error { return chromedp.Do(ctx, actions...) })
}

// Navigate opens a URL.
func (p *Page) Navigate(url string) {
	p.t.Helper()
	p.do(chromedp.Navigate(url))
}

// Resize sets the size of the page.
func (p *Page) Resize(width, height int64) {
	p.t.Helper()
	p.do(chromedp.EmulateViewport(width, height))
}

// Dark sets whether the system prefers dark colours.
func (p *Page) Dark(dark bool) {
	p.t.Helper()
	scheme := map[bool]string{true: "dark", false: "light"}[dark]
	p.call(func(ctx context.Context) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	})
}

// Eval evaluates JavaScript and stores the result in v, which may be nil. It waits for a
// promise.
func (p *Page) Eval(js string, v any) {
	p.t.Helper()
	if err := p.eval(js, v); err != nil {
		p.t.Fatalf("%s: %v", js, err)
	}
}

func (p *Page) eval(js string, v any) error {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	r, err := chromedp.Call(ctx, runtime.Evaluate, runtime.EvaluateParams{Expression: js, AwaitPromise: new(true), ReturnByValue: new(true)})
	switch {
	case err != nil:
		return err
	case r.ExceptionDetails != nil:
		return fmt.Errorf("%s", exception(r.ExceptionDetails))
	case v == nil || r.Result == nil || len(r.Result.Value) == 0:
		return nil
	}
	return json.Unmarshal(r.Result.Value, v)
}

// Wait waits until an expression of JavaScript is true.
func (p *Page) Wait(js string) {
	p.t.Helper()
	var err error
	for again := true; again; again = strings.Contains(err.Error(), "navigated") { // to another page
		err = p.eval(`new Promise(done => { const ask = () => { if (`+js+`) done(); else setTimeout(ask, 10); }; ask(); })`, nil)
		if err == nil {
			return
		}
	}
	p.Screenshot("failed-" + strings.ReplaceAll(p.t.Name(), "/", "-"))
	var text string
	_ = p.eval(`document.body.innerText.slice(0, 4000)`, &text)
	p.t.Fatalf("waiting for %s: %v; the page's problems: %q, its text:\n%s", js, err, p.Problems(), text)
}

// Text returns the text of the first element of a selector, without hidden parts.
func (p *Page) Text(selector string) string {
	p.t.Helper()
	var s string
	p.Eval(fmt.Sprintf(`document.querySelector(%q)?.innerText ?? ""`, selector), &s)
	return s
}

// Click clicks the first element of a selector, once it is visible.
func (p *Page) Click(selector string) {
	p.t.Helper()
	p.do(chromedp.Click(chromedp.CSS(selector)))
}

// Press presses keys, one after another. For special keys see the package chromedp/kb.
func (p *Page) Press(keys string) {
	p.t.Helper()
	for _, key := range keys {
		var text string
		for _, e := range kb.Encode(key) {
			if e.Type == input.DispatchKeyEventTypeChar {
				text = e.Text
			}
		}
		for _, e := range kb.Encode(key) {
			switch e.Type {
			case input.DispatchKeyEventTypeChar: // would come although the page prevented it
				continue
			case input.DispatchKeyEventTypeRawKeyDown, input.DispatchKeyEventTypeKeyDown:
				e.Type, e.Text = input.DispatchKeyEventTypeKeyDown, text
			}
			p.call(func(ctx context.Context) error {
				_, err := chromedp.Call(ctx, input.DispatchKeyEvent, *e)
				return err
			})
		}
	}
}

// AllowProblems makes the test pass whatever exceptions and errors the page has.
func (p *Page) AllowProblems() { p.problemsAllowed = true }

// call calls f, for a limited time.
func (p *Page) call(f func(context.Context) error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := f(ctx); err != nil {
		p.t.Fatal(err)
	}
}

// Fill focuses an input and replaces its text.
func (p *Page) Fill(selector, text string) {
	p.t.Helper()
	p.Eval(fmt.Sprintf(`(e => { e.focus(); e.select?.(); })(document.querySelector(%q))`, selector), nil)
	if text == "" {
		p.Press("\b")
		return
	}
	p.Press(text)
}
