package inspect

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
)

// TestPageScreenshots writes pictures of the page with demo traffic into the directory
// WSTUN_SCREENSHOTS.
func TestPageScreenshots(t *testing.T) {
	if os.Getenv("WSTUN_SCREENSHOTS") == "" {
		t.Skip("WSTUN_SCREENSHOTS isn't set")
	}
	e := newEnv(t, 2, demoOptions())
	ctx, cancel := context.WithCancel(t.Context())
	var traffic sync.WaitGroup
	defer traffic.Wait()
	defer cancel()
	traffic.Go(func() { e.traffic(ctx) })
	p := openPage(t, e)
	p.Wait(`inspector.store.calls.length > 200 && document.querySelectorAll(".pin:not([hidden])").length >= 3`)

	views := []struct{ name, keys, wait string }{
		{"calls", "e1k2", `document.querySelector("#pane").innerText.includes("Error details")`},
		{"watch", "a1J", `[...document.querySelectorAll(".messages .row .json")].some(r => r.innerText.includes("tick"))`},
		{"timing", "eak3", `document.querySelector("#pane").innerText.includes("Half-close")`},
		{"call", "K4", `document.querySelector("#pane .callform .primary")`},
		{"services", "1s", `document.querySelector(".services tbody")`},
	}
	for _, view := range views {
		p.Press(view.keys)
		p.Wait(view.wait)
		for _, size := range [][2]int64{{1440, 900}, {1024, 700}} {
			p.Resize(size[0], size[1])
			for _, theme := range []string{"light", "dark"} {
				p.Dark(theme == "dark")
				p.Eval(`new Promise(done => setTimeout(done, 600))`, nil) // until canvases are drawn
				p.Screenshot(fmt.Sprintf("%s-%dx%d-%s", view.name, size[0], size[1], theme))
			}
		}
	}
}
