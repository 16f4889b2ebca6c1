package inspect

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"
)

// demoSessions returns two sessions and one that has ended.
func demoSessions(began time.Time) func() []Session {
	rates := make([]int64, 60)
	for i := range rates {
		rates[i] = int64(20e3 + i*i*7919%15e3)
	}
	since := began.Add(-14 * time.Minute).UnixMilli()
	return func() []Session {
		n := int64(time.Since(began) / time.Second)
		return []Session{
			{ID: 1, Remote: "wss://worker-7.example/v1/ws/sync", State: "up", Since: since, RTT: 24.3, Open: 3, Bytes: Bytes{8e6 + n*40e3, 9e5 + n*8e3}, Rate: Bytes{40e3 + n*7919%9000, 8e3}, Rates: rates},
			{ID: 2, Remote: "wss://worker-9.example/v1/ws/sync", State: "up", Since: since, RTT: 31.8, Open: 1, Bytes: Bytes{61e5 + n*40e3, 7e5 + n*8e3}, Rate: Bytes{35e3 + n*7919%8000, 9e3}, Rates: rates},
			{ID: 3, Remote: "wss://worker-3.example/v1/ws/sync", State: "down", Since: since, Ended: began.UnixMilli(), Reason: "no sign of life for 1m30s", CloseCode: 1006},
		}
	}
}

// TestPageScreenshots writes pictures of the page with demo traffic into the directory
// WSTUN_SCREENSHOTS.
func TestPageScreenshots(t *testing.T) {
	if os.Getenv("WSTUN_SCREENSHOTS") == "" {
		t.Skip("WSTUN_SCREENSHOTS isn't set")
	}
	e := newEnv(t, 2, Options{Role: "dial", Addresses: func() []string { return []string{"127.0.0.1:50051"} }, Sessions: demoSessions(time.Now())})
	ctx, cancel := context.WithCancel(t.Context())
	var traffic sync.WaitGroup
	defer traffic.Wait()
	defer cancel()
	traffic.Go(func() { e.traffic(ctx) })
	p := openPage(t, e)
	p.Wait(`inspector.store.calls.length > 200 && document.querySelectorAll(".pin:not([hidden])").length >= 3`)

	views := []struct{ name, keys, wait string }{
		{"calls", "e1k2", `document.querySelector("#pane").innerText.includes("Error details")`},
		{"watch", "a1J", rows(".messages") + `.some(r => r.innerText.includes("created"))`},
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
