package inspect

import (
	"net/http"
	"strings"
	"testing"

	"github.com/wstun/wstun/commands/demo"
)

// wait waits until a call of the page has ended, and returns it.
func (e *env) wait(id float64) map[string]any {
	e.t.Helper()
	e.await(func(c map[string]any) bool { return c["id"] == id && c["end"] != nil })
	return e.object(callPath(int(id), ""))["call"].(map[string]any)
}

// Calls of all kinds of method can be made.
func TestPostCall(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 0, Options{})
	for name, test := range map[string]struct{ body, code, last string }{
		"unary":   {`{"method":"Hub/CreateKey","messages":[{"name":"a"}],"metadata":{"authorization":["Bearer topsecret"]}}`, "OK", `"name":"a"`},
		"empty":   {`{"method":"wstun.demo.v1.Hub.GetTemplates"}`, "OK", `"templates"`},
		"failing": {`{"method":"Hub/CreateKey","messages":[{}]}`, "INVALID_ARGUMENT", ``},
		"server":  {`{"method":"Hub/WatchKeys","messages":[{"maxEvents":2,"tick":"0.001s"}]}`, "OK", `"tick"`},
		"client":  {`{"method":"Hub/Sum","messages":[{"value":"1"},{"value":"2"}],"half_close":true}`, "OK", `"sum":"3"`},
		"late":    {`{"method":"Hub/Sleep","messages":[{"duration":"30s"}],"deadline":"20ms"}`, "DEADLINE_EXCEEDED", ``},
	} {
		t.Run(name, func(t *testing.T) {
			id := e.post("calls", test.body, http.StatusCreated)["id"].(float64)
			if c := e.wait(id); c["code"] != test.code || c["origin"] != "page" {
				t.Errorf("call = %v", c)
			}
			text := e.get(callPath(int(id), "/messages"))
			if !strings.Contains(text, test.last) {
				t.Errorf("messages = %s", text)
			}
			if all := e.get(callPath(int(id), "")); strings.Contains(all, "topsecret") {
				t.Error("a secret is shown")
			}
		})
	}
}

// A call with a stream of requests stays open for more.
func TestPostMessages(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 0, Options{})
	id := e.post("calls", `{"method":"Hub/Echo","messages":[{"text":"one"}]}`, http.StatusCreated)["id"].(float64)
	path := callPath(int(id), "")
	answered := func(n float64) {
		t.Helper()
		e.await(func(c map[string]any) bool { return c["id"] == id && at(t, c, "down", "n") == n })
	}
	answered(1)
	if e.object(path)["mine"] != true {
		t.Error("the call isn't mine")
	}
	e.post(path+"/messages", `{"messages":[{"text":"two"},{"text":"three"}]}`, http.StatusNoContent)
	answered(3)
	e.post(path+"/messages", `{"messages":[{"text":1}]}`, http.StatusBadRequest)
	e.post(path+"/half-close", `{}`, http.StatusNoContent)
	if c := e.wait(id); c["code"] != "OK" {
		t.Errorf("call = %v", c)
	}
	e.post(path+"/messages", `{"messages":[{"text":"four"}]}`, http.StatusConflict)
	if got := at(t, e.object(path+"/messages"), "messages", 5, "json", "text"); got != "three" {
		t.Errorf("the last answer is %v", got)
	}
	id = e.post("calls", `{"method":"Hub/Echo"}`, http.StatusCreated)["id"].(float64)
	if status, body := e.do(http.MethodDelete, "/api/v1/"+callPath(int(id), ""), "{}"); status != http.StatusNoContent {
		t.Errorf("DELETE = %d %s", status, body)
	}
	if c := e.wait(id); c["code"] != "CANCELLED" {
		t.Errorf("call = %v", c)
	}
}

func TestPostMistakes(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1, Options{})
	if err := e.key(0, "a"); err != nil {
		t.Fatal(err)
	}
	id := e.await(ended("CreateKey"))
	for body, want := range map[string]string{
		`{`:                           "unexpected",
		`{"metod":"x"}`:               "metod",
		`{}`:                          "method",
		`{"method":"Hub/CreateKeys"}`: "CreateKey",
		`{"method":"Hub/CreateKey","messages":[{"nam":"a"}]}`:          "nam",
		`{"method":"Hub/CreateKey","messages":[{},{}]}`:                "one message",
		`{"method":"Hub/CreateKey","deadline":"x"}`:                    "deadline",
		`{"method":"Hub/CreateKey","metadata":{"te":["x"]}}`:           "te",
		`{"method":"Hub/CreateKey","metadata":{"x-bin":["%"]}}`:        "base64",
		`{"method":"Hub/CreateKey","metadata":{"x y":["1"]}}`:          "letters",
		`{"method":"Hub/CreateKey","metadata":{"x":["secret\u0000"]}}`: "ASCII",
	} {
		status, text := e.do(http.MethodPost, "/api/v1/calls", body)
		if status != http.StatusBadRequest || !strings.Contains(text, want) || strings.Contains(text, "secret") {
			t.Errorf("%s: %d %s, want %q", body, status, text, want)
		}
	}
	e.post(callPath(id, "/messages"), `{"messages":[{}]}`, http.StatusConflict)
	e.post(callPath(id, "/half-close"), `{}`, http.StatusConflict)
	e.post("calls/99/half-close", `{}`, http.StatusNotFound)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.web.URL+"/api/v1/calls", strings.NewReader(`{"method":"Hub/CreateKey"}`))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("without a content type: %d", response.StatusCode)
	}
	e.post("calls", `{"method":"`+strings.Repeat("x", maxRequest)+`"}`, http.StatusBadRequest)
}

// Close ends the calls of the page.
func TestCloseCalls(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 0, Options{})
	id := e.post("calls", `{"method":"Hub/Echo"}`, http.StatusCreated)["id"].(float64)
	e.Close()
	if c := e.Store().Call(uint64(id)); c == nil || !c.Ended {
		t.Errorf("call = %v", c)
	}
}

// A call that is made again has the same result, or the differences; secrets aren't compared.
func TestReplay(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1, Options{})
	if err := e.key(0, "a"); err != nil {
		t.Fatal(err)
	}
	if err := e.key(0, "a"); err == nil {
		t.Fatal("no error")
	}
	first := e.await(ended("CreateKey"))
	failed := e.await(func(c map[string]any) bool { return c["code"] == "ALREADY_EXISTS" })
	r := e.post(callPath(failed, "/replay"), "{}", http.StatusOK)
	if r["result"] != "same" || len(r["differences"].([]any)) != 0 || r["call"] != float64(failed) {
		t.Errorf("replay = %v", r)
	}
	r = e.post(callPath(first, "/replay"), "{}", http.StatusOK)
	if r["result"] != "differs" || !strings.HasPrefix(at(t, r, "differences", 0, "replayed").(string), "ALREADY_EXISTS") {
		t.Errorf("replay = %v", r)
	}
	if _, err := e.clients[0].DeleteKey(t.Context(), &demo.DeleteKeyRequest{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	r = e.post(callPath(first, "/replay"), "{}", http.StatusOK)
	var paths []string
	for _, d := range r["differences"].([]any) {
		paths = append(paths, d.(map[string]any)["path"].(string))
	}
	if got := strings.Join(paths, " "); got != "create_time" {
		t.Errorf("differences at %s", got)
	}
	id := e.watch(3)
	if r := e.post(callPath(id, "/replay"), "{}", http.StatusOK); r["result"] == nil {
		t.Errorf("replay = %v", r)
	}
}
