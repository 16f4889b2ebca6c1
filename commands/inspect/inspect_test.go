package inspect

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/wstun/wstun/commands/demo"
	"github.com/wstun/wstun/commands/inspect/store"
	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/tunnel/trace"
)

func TestInfo(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 0, Options{Version: "1.2.3", Role: "dial", Addresses: func() []string { return []string{"127.0.0.1:50051"} }})
	info := e.object("")
	for name, want := range map[string]any{"version": "1.2.3", "role": "dial", "source": "live", "calls": true} {
		if info[name] != want {
			t.Errorf("%s = %v, want %v", name, info[name], want)
		}
	}
	if got := at(t, info, "limits", "memory"); got != float64(store.DefaultMemory) {
		t.Errorf("limits = %v", info["limits"])
	}
	if got := at(t, info, "addresses", 0); got != "127.0.0.1:50051" {
		t.Errorf("addresses = %v", got)
	}
}

// All that is known of a call is in the answer for it, without its secrets.
func TestCall(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1, Options{})
	ctx := metadata.NewOutgoingContext(t.Context(), metadata.Pairs("authorization", "Bearer topsecret", "x-id", "7"))
	key, err := e.clients[0].CreateKey(ctx, &demo.CreateKeyRequest{Name: "z9"})
	if err != nil {
		t.Fatal(err)
	}
	id := e.await(ended("CreateKey"))
	d := e.object(callPath(id, ""))
	c := d["call"].(map[string]any)
	for name, want := range map[string]any{"session": 1.0, "method": hub + "CreateKey", "origin": "peer", "code": "OK", "kind": "unary"} {
		if name == "kind" {
			e.await(func(c map[string]any) bool { return c["kind"] == want })
			continue
		}
		if c[name] != want {
			t.Errorf("%s = %v, want %v", name, c[name], want)
		}
	}
	for _, name := range []string{"start", "end", "ms", "headers_ms", "first_ms", "last"} {
		if n, ok := c[name].(float64); !ok || n <= 0 {
			t.Errorf("%s = %v", name, c[name])
		}
	}
	var phases []string
	for _, p := range d["timing"].([]any) {
		phases = append(phases, p.(map[string]any)["phase"].(string))
	}
	if got := strings.Join(phases, " "); got != "begin request half-close headers first end" && got != "begin request headers first end" {
		t.Errorf("phases = %s", got)
	}
	text := e.get(callPath(id, "")) + e.get(callPath(id, "/messages")) + e.get(callPath(id, "/messages/2")) + e.get(callPath(id, "/messages/2?raw=1")) +
		e.get(callPath(id, "/command?as=wstun")) + e.get("export") + e.get("calls")
	for _, secret := range []string{"topsecret", key.GetSecret()} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is shown", secret)
		}
	}
	if !strings.Contains(text, `["authorization","[redacted]"],["x-id","7"]`) && !strings.Contains(text, `["x-id","7"]`) {
		t.Errorf("metadata is missing in %s", text)
	}
	m := e.object(callPath(id, "/messages"))
	if got := at(t, m, "messages", 1, "json", "secret"); got != "[redacted]" {
		t.Errorf("secret = %v", got)
	}
	raw := &demo.Key{}
	if err := proto.Unmarshal([]byte(e.get(callPath(id, "/messages/2?raw=1"))), raw); err != nil || raw.GetName() != "z9" || raw.GetSecret() != "[redacted]" {
		t.Errorf("raw = %v, %v", raw, err)
	}
}

// The status of a call that fails has its details.
func TestDetails(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1, Options{})
	if err := e.key(0, "a"); err != nil {
		t.Fatal(err)
	}
	if e.key(0, "a") == nil {
		t.Fatal("no error")
	}
	id := e.await(func(c map[string]any) bool { return c["code"] == "ALREADY_EXISTS" })
	d := e.object(callPath(id, ""))
	if got := at(t, d, "details", 0, "resourceName"); got != "a" {
		t.Errorf("details = %v", d["details"])
	}
	if strings.Contains(e.get(callPath(id, "")), "grpc-status-details-bin") {
		t.Error("the details are there twice")
	}
}

// A call without messages, and an empty store, have lists that are empty and not null.
func TestEmptyLists(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 0, Options{})
	e.Store().Event(&trace.Event{Type: trace.ClientHeader, Call: 1, Method: "/a.B/C", Time: time.Now()})
	for _, path := range []string{"", "calls", "calls?q=status=OK", "calls/1", "calls/1/messages", "calls/1/messages?q=x", "calls/1/rate", "services"} {
		if body := e.get(path); strings.Contains(body, "null") {
			t.Errorf("%s: %s", path, body)
		}
	}
	s := e.follow("")
	defer s.close()
	s.next()
	if line := s.next(); line["sessions"] == nil || line["gone"].(map[string]any)["ids"] == nil {
		t.Errorf("batch = %v", line)
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 2, Options{})
	for i := range 10 {
		if err := e.key(i%2, fmt.Sprintf("k%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	_ = e.key(0, "k1")
	e.await(func(c map[string]any) bool { return c["code"] == "ALREADY_EXISTS" })
	for query, want := range map[string]int{
		"":                       11,
		"limit=3":                3,
		"before=5":               4,
		"q=status!=OK":           1,
		"q=s2":                   5,
		"q=Hub/CreateKey+s1":     6,
		"q=!Hub/*":               0,
		"q=$.name=k1":            2,
		"q=$.name=k1+status=OK":  1,
		"q=$.name=k1+!status=OK": 1,
		"q=%3E1h":                0,
		"q=size%3E1":             11,
		"q=Delete*":              0,
		"q=$.secret=*redacted*":  10,
	} {
		l := e.object("calls?" + query)
		calls := l["calls"].([]any)
		if len(calls) != want {
			t.Errorf("%s: %d calls, want %d", query, len(calls), want)
		}
		for i := range calls[min(1, len(calls)):] {
			if at(t, calls, i, "id").(float64) <= at(t, calls, i+1, "id").(float64) {
				t.Errorf("%s: the newest isn't first", query)
			}
		}
	}
	for path, want := range map[string]int{
		"calls?q=size>x": 400, "calls?limit=x": 400, "calls/99": 404, "calls/x": 404, "calls/1/messages?n=x": 400, "calls/1/messages?dir=x": 400,
		"calls/1/messages/9": 404, "calls/1/messages/0": 404, "calls/1/rate?n=0": 400, "calls/1/command?as=x": 400, "nothing": 404, "changes?since=x": 400,
		"services/a/b": 404, "services/wstun.demo.v1/Hub": 404,
	} {
		status, body := e.do(http.MethodGet, "/api/v1/"+path, "")
		if status != want || !strings.HasPrefix(body, `{"error":"`) {
			t.Errorf("%s: %d %s, want %d", path, status, body, want)
		}
	}
}

// watch receives n messages of a Watch, which stays open until the test ends.
func (e *env) watch(n int) int {
	e.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	e.t.Cleanup(cancel)
	stream, err := e.clients[0].WatchKeys(ctx, &demo.WatchKeysRequest{Tick: durationpb.New(time.Millisecond)})
	for range n {
		if err == nil {
			_, err = stream.Recv()
		}
	}
	if err != nil {
		e.t.Fatal(err)
	}
	return e.await(func(c map[string]any) bool {
		return c["method"] == hub+"WatchKeys" && at(e.t, c, "down", "n").(float64) >= float64(n)
	})
}

func TestMessages(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1, Options{})
	id := e.watch(300)
	p := e.object(callPath(id, "/messages?from=100&n=50"))
	messages := p["messages"].([]any)
	if len(messages) != 50 || p["first"] != 100.0 {
		t.Fatalf("%d messages from %v", len(messages), p["first"])
	}
	for i, m := range messages {
		m := m.(map[string]any)
		if m["seq"] != float64(101+i) || m["dir"] != "down" || m["dt"] == nil || m["t"] == nil || at(t, m, "json", "tick") == nil {
			t.Errorf("message %d = %v", i, m)
		}
	}
	if up := e.object(callPath(id, "/messages?dir=up"))["messages"].([]any); len(up) != 1 || at(t, up, 0, "json", "tick") != "0.001s" || at(t, up, 0, "dt") != nil {
		t.Errorf("requests = %v", up)
	}
	last := e.object(callPath(id, "/messages?from=-1"))
	if n := last["messages"].([]any); len(n) == 0 || at(t, n, 0, "seq").(float64) < 300 {
		t.Errorf("newest = %v", last)
	}
	if n := e.object(callPath(id, "/messages?from=1000000"))["messages"].([]any); len(n) != 0 {
		t.Errorf("after the end: %v", n)
	}
	r := e.object(callPath(id, "/rate?n=10"))
	sum := 0.0
	for _, n := range r["counts"].([]any) {
		sum += n.(float64)
	}
	if sum < 300 || len(r["counts"].([]any)) != 10 {
		t.Errorf("rate = %v", r)
	}
}

// A search finds text in any part of the messages, page by page.
func TestFind(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1, Options{})
	stream, err := e.clients[0].Echo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 700 {
		if err := stream.Send(&demo.EchoRequest{Text: fmt.Sprintf("Needle %d", i)}); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	_ = stream.CloseSend()
	_, _ = stream.Recv()
	id := e.await(ended("Echo"))
	if p := e.object(callPath(id, "/messages?q=needle+123")); len(p["messages"].([]any)) != 2 || p["scanned"] != 1400.0 || p["next"] != nil {
		t.Errorf("found %d, scanned %v, next %v", len(p["messages"].([]any)), p["scanned"], p["next"])
	}
	if p := e.object(callPath(id, "/messages?q=needle+123&dir=up")); len(p["messages"].([]any)) != 1 {
		t.Errorf("found %v", p["messages"])
	}
	found, from := 0, 0.0
	for pages := 0; ; pages++ {
		p := e.object(callPath(id, fmt.Sprintf("/messages?n=500&q=NEEDLE&from=%v", from)))
		found += len(p["messages"].([]any))
		next, ok := p["next"].(float64)
		if !ok || pages > 10 {
			break
		}
		from = next
	}
	if found != 1400 {
		t.Errorf("found %d of 1400", found)
	}
}

// An export is a recording with the same calls.
func TestExport(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1, Options{})
	for i := range 5 {
		if err := e.key(0, fmt.Sprintf("k%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	_ = e.key(0, "k1")
	e.watch(20)
	text := e.get("export")
	rec, err := recording.Read(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(rec.Calls) != 7 || len(rec.Files.Set().GetFile()) == 0 {
		t.Fatalf("%d calls, %d files", len(rec.Calls), len(rec.Files.Set().GetFile()))
	}
	for i, c := range rec.Calls {
		if problem := c.Problem(); problem != "" {
			t.Errorf("call %d: %s", i, problem)
		}
	}
	if rec, err := recording.Read(strings.NewReader(e.get("export?q=status=ALREADY_EXISTS"))); err != nil || len(rec.Calls) != 1 {
		t.Errorf("filtered: %v, %v", rec, err)
	}
	h := New(&Options{File: true})
	defer h.Close()
	if err := h.Load(strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	loaded := &env{Handler: h, t: t}
	loaded.serve()
	id := loaded.await(ended("CreateKey"))
	if got := at(t, loaded.object(callPath(id, "/messages")), "messages", 0, "json", "name"); got != "k0" {
		t.Errorf("name = %v", got)
	}
	if got := loaded.object("")["source"]; got != "file" {
		t.Errorf("source = %v", got)
	}
	if status, _ := loaded.do(http.MethodPost, "/api/v1/calls", "{}"); status != http.StatusForbidden {
		t.Errorf("POST = %d", status)
	}
}

// A peer's text is text, whatever is in it.
func TestHostileText(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 0, Options{Sessions: func() []Session {
		return []Session{{ID: 1, Remote: "ws://x/\u202e\x1b[2J", Reason: "<script>\x00\u2028"}}
	}})
	nasty := "/a.B/<img>\x1b]0;x\x07\u202e\xff\r\n"
	s := e.Store()
	s.Event(&trace.Event{Type: trace.ClientHeader, Call: 1, Method: nasty, Authority: nasty, Time: time.Now()})
	s.Event(&trace.Event{Type: trace.ClientMessage, Call: 1, Method: nasty, Time: time.Now(), Size: 90, Data: []byte("\x0a\x05\x1b[2J\xff\xff\xff"), Encoding: "\x1bgzip"})
	s.Event(&trace.Event{Type: trace.ClientMessage, Call: 1, Method: nasty, Time: time.Now(), Size: 9, Data: []byte("\x0a\x07\u202e\x1b[2J")})
	s.Event(&trace.Event{Type: trace.ServerTrailer, Call: 1, Method: nasty, Message: nasty, Time: time.Now(), Code: 99999})
	all := ""
	for _, path := range []string{"calls", "calls/1", "calls/1/messages", "calls/1/messages/1", "calls/1/messages/2", "services", "export"} {
		all += e.get(path)
	}
	f := e.follow("")
	defer f.close()
	f.next()
	f.next()
	all += f.lines.Text() + "\n"
	status, body := e.do(http.MethodGet, "/api/v1/calls?q="+"%1b%5b2J%e2%80%ae", "")
	if all += body; status != http.StatusBadRequest {
		t.Errorf("q = %d", status)
	}
	for line := range strings.SplitSeq(all, "\n") {
		if !json.Valid([]byte(line)) && line != "" {
			t.Errorf("not JSON: %q", line)
		}
		if i := strings.IndexFunc(line, func(c rune) bool { return c < ' ' || c == '\u202e' || c == '\u2028' || c == '\x7f' }); i >= 0 {
			t.Errorf("control character in %q", line)
		}
	}
	if status, body := e.do(http.MethodGet, "/api/v1/calls/1/command?as=grpcurl", ""); status != http.StatusUnprocessableEntity {
		t.Errorf("command = %d %s", status, body)
	}
}

// A compressed message isn't decompressed to more than is shown.
func TestCompressed(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 0, Options{})
	data, err := proto.Marshal(&demo.EchoRequest{Text: strings.Repeat("a", 64<<20)})
	if err != nil {
		t.Fatal(err)
	}
	bomb := gzipped(t, data)
	s := e.Store()
	s.Event(&trace.Event{Type: trace.ClientHeader, Call: 1, Method: hub + "Echo", Time: time.Now()})
	s.Event(&trace.Event{Type: trace.ClientMessage, Call: 1, Method: hub + "Echo", Time: time.Now(), Size: int64(len(bomb)), Data: bomb, Encoding: "gzip"})
	small := gzipped(t, []byte("\x0a\x02hi"))
	s.Event(&trace.Event{Type: trace.ClientMessage, Call: 1, Method: hub + "Echo", Time: time.Now(), Size: int64(len(small)), Data: small, Encoding: "gzip"})
	page := e.get("calls/1/messages")
	if len(page) > 32<<10 {
		t.Errorf("the page has %d bytes", len(page))
	}
	p := decode(t, page)
	if m := at(t, p, "messages", 0).(map[string]any); m["cut"] != true || m["note"] == nil || m["encoding"] != "gzip" {
		t.Errorf("bomb = %v %v %v", m["cut"], m["note"], m["encoding"])
	}
	if m := at(t, p, "messages", 1).(map[string]any); at(t, m, "json", "text") != "hi" || m["size"] != 4.0 || m["wire"] != float64(len(small)) || m["cut"] != nil {
		t.Errorf("small = %v", m)
	}
	if m := e.object("calls/1/messages/1"); m["cut"] != true || m["json"] == nil {
		t.Errorf("one message: cut %v", m["cut"])
	}
	if status, _ := e.do(http.MethodGet, "/api/v1/calls/1/messages/1?raw=1", ""); status != http.StatusUnprocessableEntity {
		t.Errorf("raw = %d", status)
	}
}
