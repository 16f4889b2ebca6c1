package inspect

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/grpc/metadata"

	"github.com/wstun/wstun/commands/demo"
)

// chooseMethod is the button among the services that calls a method.
const chooseMethod = `document.querySelector("[aria-label='Call %s']")`

// TestPageForms makes a call of each kind of method.
func TestPageForms(t *testing.T) {
	e := newEnv(t, 1, Options{Sessions: func() []Session { return []Session{{ID: 1, State: "up"}, {ID: 2, State: "up"}} }})
	p := openPage(t, e)
	choose := func(method string) {
		t.Helper()
		if p.Text("#services[aria-pressed=true]") == "" {
			p.Click("#services")
		}
		button := fmt.Sprintf(chooseMethod, method)
		p.Wait(button)
		p.Eval(button+`.click()`, nil)
		p.Wait(fmt.Sprintf(`[...document.querySelectorAll("#detail h2")].some(e => e.innerText.includes("Hub/%s")) && document.querySelector(".callform .primary")`, method))
	}
	wait := func(want string) {
		t.Helper()
		p.Wait(fmt.Sprintf(`(s => %q.split(" ").every(w => s.includes(w)))(document.querySelector(".result").innerText)`, want))
	}
	const (
		send, half, cancel = ".callform .primary", "[title='No more requests']", "[title='Cancel the call']"
		next               = "[title='Send the request below']"
	)

	choose("CreateKey")
	p.Fill(`[id="field.name"]`, "from the form")
	p.Fill("[aria-label='Metadata, a line each']", "x-a: 1")
	p.Click(send)
	wait(`OK createTime "from the form" 1 response`)
	p.Click(send)
	wait(`ALREADY_EXISTS already exists`)
	p.AllowProblems() // an answer of status 400
	p.Fill("[aria-label='Request as JSON']", `{"nam": 1}`)
	p.Click(send)
	p.Wait(`document.querySelector(".callform .why").innerText.includes("nam")`)

	choose("WatchKeys")
	p.Fill(`[id="field.maxEvents"]`, "2")
	p.Fill(`[id="field.tick"]`, "0.01s")
	p.Click(send)
	wait(`OK 3 responses tick`)

	choose("Sum")
	p.Fill(`[id="field.value"]`, "40")
	p.Click("[title='Add a request']")
	p.Fill(`[id="field.value"]`, "2")
	p.Click(send)
	p.Wait(`document.querySelector(".result .badge")?.innerText === "open"`)
	p.Click(next)
	p.Wait(`inspector.store.calls.at(-1).up.n === 3`)
	p.Click(half)
	wait(`OK sum: "44" count: 3`)

	choose("Echo")
	p.Fill(`[id="field.text"]`, "first")
	p.Click(send)
	wait(`open first 1 response`)
	p.Fill(`[id="field.text"]`, "second")
	p.Click(next)
	wait(`open second 2 responses`)
	p.Click(cancel)
	wait(`CANCELLED`)

	// The call is like any other in the list. r makes it again.
	p.Click(".result .link")
	p.Wait(`document.querySelector("#detail .facts")?.innerText.includes("called from this page")`)
	p.Press("r")
	p.Wait(`document.querySelector(".steps")?.innerText.includes("request 1 of 2")`)
}

func TestPageReplay(t *testing.T) {
	e := newEnv(t, 1, Options{})
	if _, err := e.clients[0].DeleteKey(metadata.AppendToOutgoingContext(t.Context(), "x-a", "1"), &demo.DeleteKeyRequest{Name: "gone"}); err == nil {
		t.Fatal("deleted")
	}
	if err := e.key(0, "gone"); err != nil {
		t.Fatal(err)
	}
	p := openPage(t, e)
	p.Wait(rows("#calls") + `.length === 2`)
	p.Press("g5")
	p.Click("#pane .primary")
	p.Wait(`document.querySelector("#pane .badge")?.innerText === "Differs"`)
	if text := p.Text("#pane"); !strings.Contains(text, "NOT_FOUND") || !strings.Contains(text, "OK") {
		t.Errorf("the difference is %q", text)
	}
	p.Press("j5")
	p.Click("#pane .primary")
	p.Wait(`document.querySelector("#pane .badge")?.innerText === "Differs" && document.querySelector("#pane").innerText.includes("create_time")`)
}

// TestPageCallsOff checks that the page offers no calls that the process doesn't allow.
func TestPageCallsOff(t *testing.T) {
	e := newEnv(t, 1, Options{})
	e.opts.Conn = nil
	if err := e.key(0, "a"); err != nil {
		t.Fatal(err)
	}
	p := openPage(t, e)
	p.Wait(rows("#calls") + `.length === 1`)
	p.Press("kr")
	p.Wait(`document.querySelector("#say").innerText.includes("--admin-calls")`)
	p.Wait(`document.querySelector("#tab3").hidden && document.querySelector("#tab4").hidden`)
	p.Press("s")
	p.Wait(`document.querySelector(".services tbody")?.innerText.includes("CreateKey") && !document.querySelector(".services td .link")`)
}

// TestPageMessageForm fills a form with each kind of field.
func TestPageMessageForm(t *testing.T) {
	p := openPage(t, newEnv(t, 0, Options{}))
	const types = `{"T": {"fields": [
		{"name": "text", "type": "string"}, {"name": "small", "type": "int32"}, {"name": "big", "type": "uint64"}, {"name": "real", "type": "double"},
		{"name": "yes", "type": "bool"}, {"name": "maybe", "type": "bool", "optional": true}, {"name": "data", "type": "bytes"},
		{"name": "level", "type": "enum", "ref": "L", "values": ["LOW", "HIGH"]}, {"name": "many", "type": "string", "repeated": true},
		{"name": "labels", "type": "map", "key": "string", "value": {"type": "int32"}}, {"name": "parts", "type": "map", "key": "int32", "value": {"type": "message", "ref": "T"}},
		{"name": "self", "type": "message", "ref": "T"}, {"name": "selves", "type": "message", "ref": "T", "repeated": true},
		{"name": "one", "type": "string", "oneof": "choice"}, {"name": "other", "type": "message", "ref": "T", "oneof": "choice"},
		{"name": "time", "type": "message", "ref": "google.protobuf.Timestamp"}, {"name": "wrapped", "type": "message", "ref": "google.protobuf.BoolValue"},
		{"name": "number", "type": "message", "ref": "google.protobuf.Int64Value"}, {"name": "any", "type": "message", "ref": "google.protobuf.Struct"},
		{"name": "nothing", "type": "message", "ref": "google.protobuf.Empty"}]}}`
	p.Eval(`import("./form.js").then(m => {
		window.value = {};
		document.querySelector("#detail").append(m.messageForm(`+types+`, "T", value, () => {}));
		window.field = name => document.getElementById("field." + name);
		window.set = (name, v) => { const e = field(name); if (e.type === "checkbox") e.click(); else { e.value = v; e.dispatchEvent(new Event(e.tagName === "SELECT" ? "change" : "input")); } };
		window.inside = (name, v) => { const e = [...field(name).parentNode.querySelectorAll("input:not(.mapkey)")].find(e => !e.value || e.value === "0"); e.value = v; e.dispatchEvent(new Event("input")); };
	})`, nil)
	p.Eval(`set("text", "a"); set("small", "-3"); set("big", "18446744073709551615"); set("real", "NaN"); set("yes"); set("maybe", "false"); set("data", "aGk=");
		set("level", "HIGH"); set("time", "2026-01-01T00:00:00Z"); set("wrapped", "true"); set("number", "5"); set("any", '{"x": [1]}'); set("nothing");
		field("many").click(); inside("many", "p"); field("many").click(); inside("many", "q");
		field("labels").click(); inside("labels", "7"); field("parts").click(); inside("parts", "in a map");
		field("self").click(); set("self.text", "inner"); field("self.self").click(); set("self.self.small", "9");
		field("selves").click(); inside("selves", "listed");
		[...document.querySelectorAll("fieldset")].at(-1).querySelectorAll("input[type=radio]")[2].click()`, nil)
	var got json.RawMessage
	p.Eval(`value`, &got)
	const want = `{"text": "a", "small": -3, "big": "18446744073709551615", "real": "NaN", "yes": true, "maybe": false, "data": "aGk=", "level": "HIGH",
		"time": "2026-01-01T00:00:00Z", "wrapped": true, "number": "5", "any": {"x": [1]}, "nothing": {}, "many": ["p", "q"], "labels": {"key": 7},
		"parts": {"0": {"text": "in a map"}}, "self": {"text": "inner", "self": {"small": 9}}, "selves": [{"text": "listed"}], "other": {}}`
	var a, b any
	if json.Unmarshal(got, &a) != nil || json.Unmarshal([]byte(want), &b) != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("the form makes\n%s\nwant\n%s", got, want)
	}
	var invalid bool
	p.Eval(`set("small", "x"), !field("small").checkValidity()`, &invalid)
	if !invalid {
		t.Error("x is a valid int32")
	}
}
