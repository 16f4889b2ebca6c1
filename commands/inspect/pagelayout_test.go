package inspect

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/tunnel/trace"
)

// health adds a call of the health service that has failed, or is open.
func (e *env) health(number uint64, method string, ended bool) {
	event := trace.Event{Type: trace.ClientHeader, Session: 1, Call: number, Method: "/grpc.health.v1.Health/" + method, IsGRPC: true, Time: time.Now()}
	e.Store().Event(&event)
	if ended {
		event.Type, event.Code, event.Seq = trace.ServerTrailer, codes.NotFound, 2
		e.Store().Event(&event)
	}
}

// TestPageInfrastructure checks that calls of gRPC's own services are hidden, and not
// counted, unless they are asked for.
func TestPageInfrastructure(t *testing.T) {
	e := newEnv(t, 1, Options{})
	e.health(100, "Check", true)
	e.health(101, "Watch", false)
	p := openPage(t, e)
	state := func(rowCount, failed, open int, button string) {
		t.Helper()
		p.Wait(fmt.Sprintf(`document.querySelector("#infra").innerText === %q && document.querySelector("#nerr").innerText === "%d" &&
			document.querySelector("#nopen").innerText === "%d" && %s.length === %d`, button, failed, open, rows("#calls"), rowCount))
	}
	state(0, 0, 0, "Show 2 calls of reflection and health")
	p.Wait(`document.querySelector("#calls .empty").innerText.includes("No session")`)
	if err := e.key(0, "a"); err != nil {
		t.Fatal(err)
	}
	state(1, 0, 0, "Show 2 calls of reflection and health")
	p.Press("i")
	state(3, 1, 1, "Hide 2 calls of reflection and health")
	p.Click("#infra")
	state(1, 0, 0, "Show 2 calls of reflection and health")
	p.Fill("#filter", "health/*")
	state(2, 0, 0, "Show 2 calls of reflection and health")
	p.Press("\x1b")
	state(1, 0, 0, "Show 2 calls of reflection and health")

	// An export has the calls that are shown.
	p.Eval(`URL.createObjectURL = blob => { blob.text().then(s => { window.saved = s; }); return "#"; }`, nil)
	for _, want := range []bool{false, true} {
		p.Eval(`document.activeElement.blur(); window.saved = ""`, nil)
		p.Press("x")
		p.Wait(`window.saved.includes("CreateKey")`)
		var got bool
		if p.Eval(`saved.includes("Health/Check")`, &got); got != want {
			t.Errorf("the recording has a health check: %v, want %v", got, want)
		}
		p.Press("i")
	}
}

// TestPageTarget opens the page of a target: there are no sessions, and only the calls of
// the page.
func TestPageTarget(t *testing.T) {
	e := newEnv(t, 0, Options{Catalog: formCatalog(t), Role: "inspect", Addresses: func() []string { return []string{"ws://h/"} }})
	e.opts.Sessions = nil
	p := openPage(t, e)
	p.Wait(`document.querySelector(".services")?.innerText.includes("Shop") && document.querySelector("#sessions").hidden`)
	if text := p.Text("#calls .empty"); !strings.Contains(text, "under Services") || p.Text("#where") != "ws://h/" {
		t.Errorf("the empty page of %s says %q", p.Text("#where"), text)
	}

	// The request of Wait is a Duration, whose JSON is no object.
	p.Eval(fmt.Sprintf(chooseMethod+`.click()`, "Wait"), nil)
	p.Wait(`document.querySelector(".callform .primary")`)
	p.Fill("#field", "1.5s")
	p.Wait(`document.querySelector("[aria-label='Request as JSON']").value === '"1.5s"'`)
	p.Fill("[aria-label='Request as JSON']", `"2.5s"`)
	p.Wait(`document.querySelector("#field").value === "2.5s"`)
	p.Click(".callform .primary")
	p.Wait(`document.querySelector(".result .badge")?.innerText === "UNIMPLEMENTED"`)
	p.Click(".result .link")
	p.Wait(`document.querySelector(".body")?.innerText === '"2.500s"'`)
}

// TestPageLayout checks that headings stand above their columns, and that nothing overlaps
// in a small window, or when zoomed.
func TestPageLayout(t *testing.T) {
	e := newEnv(t, 1, Options{})
	for i := range 100 {
		if err := e.key(0, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	p := openPage(t, e)
	p.Wait(rows("#calls") + `.length > 20`)
	const lefts = `JSON.stringify([...%s.children].map(e => e.getBoundingClientRect().left))`
	p.Wait(fmt.Sprintf(lefts+` === `+lefts, `document.querySelector("#calls .thead")`, rows("#calls")+`[3]`))
	for _, size := range [][2]int64{{1440, 900}, {1024, 700}, {720, 450}, {512, 350}} {
		p.Resize(size[0], size[1])
		var overlap float64
		p.Eval(`(boxes => Math.max(...boxes.slice(1).map((b, i) => boxes[i].bottom - b.top)))([...document.querySelectorAll("#top, #overview, #calls, #detail, footer")].map(e => e.getBoundingClientRect())
			.filter((b, i, all) => i !== 3 || all[2].top !== b.top))`, &overlap)
		if overlap > 1 {
			t.Errorf("at %d × %d parts overlap by %v", size[0], size[1], overlap)
		}
	}
}

// TestPageEnded checks that nothing goes on after the end of the process, and that sessions
// that are up come before those that have ended.
func TestPageEnded(t *testing.T) {
	e := newEnv(t, 0, Options{Sessions: func() []Session {
		return []Session{{ID: 1, State: "down", Ended: 1}, {ID: 2, State: "down", Ended: 2}, {ID: 3, State: "up"}}
	}})
	e.Store().Event(&trace.Event{Type: trace.ClientHeader, Session: 3, Call: 1, Method: hub + "WatchKeys", IsGRPC: true, Time: time.Now().Add(-time.Minute)})
	e.End()
	p := openPage(t, e)
	p.Wait(`[...document.querySelectorAll(".sid")].map(e => e.innerText).join() === "s3,s2,s1"`)
	p.Wait(`document.querySelector("#kept").innerText.startsWith("The process has ended") && document.querySelector("#pause").hidden`)
	p.Wait(rows("#calls") + `[0]?.innerText.includes("open")`) // and not quiet
}
