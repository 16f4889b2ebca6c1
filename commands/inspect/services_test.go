package inspect

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/trace"
)

func formCatalog(t *testing.T) *reflection.Catalog {
	t.Helper()
	set, err := reflection.LoadProtos([]string{"form.proto"}, []string{"testdata"})
	if err != nil {
		t.Fatal(err)
	}
	return reflection.NewCatalog(reflection.FromSet(set))
}

// Services have counts and times of their methods, also of those without types.
func TestServices(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 0, Options{Catalog: formCatalog(t)})
	s := e.Store()
	for i := range 100 {
		event := trace.Event{Type: trace.ClientHeader, Call: uint64(i) + 1, Method: "/form.v1.Shop/Order", Time: time.Now(), IsGRPC: true}
		s.Event(&event)
		event.Type, event.Duration = trace.ServerTrailer, time.Duration(i+1)*time.Millisecond
		if i < 3 {
			event.Code = codes.NotFound
		}
		s.Event(&event)
	}
	s.Event(&trace.Event{Type: trace.ClientHeader, Call: 200, Method: "/other.A/B", Time: time.Now()})
	s.Event(&trace.Event{Type: trace.ClientHeader, Call: 201, Method: "/grpc.health.v1.Health/Check", Time: time.Now()})
	v := e.object("services")
	if got := at(t, v, "services", 0, "name"); got != "form.v1.Shop" || at(t, v, "services", 0, "comment") != "Shop sells." {
		t.Errorf("services = %v", v)
	}
	order := at(t, v, "services", 0, "methods", 0)
	for _, test := range []struct{ want, got any }{
		{"Order", at(t, order, "name")},
		{"Order orders.", at(t, order, "comment")},
		{"unary", at(t, order, "kind")},
		{"form.v1.Request", at(t, order, "request")},
		{100.0, at(t, order, "observed", "calls")},
		{3.0, at(t, order, "observed", "failed")},
		{51.0, at(t, order, "observed", "p50_ms")},
		{96.0, at(t, order, "observed", "p95_ms")},
		{true, at(t, v, "services", 0, "methods", 1, "up")},
		{true, at(t, v, "services", 0, "methods", 1, "down")},
		{"other.A", at(t, v, "services", 1, "name")},
		{"grpc.health.v1.Health", at(t, v, "services", 2, "name")},
		{false, at(t, v, "services", 1, "methods", 0, "described")},
		{1.0, at(t, v, "services", 1, "methods", 0, "observed", "open")},
	} {
		if test.got != test.want {
			t.Errorf("got %v, want %v", test.got, test.want)
		}
	}
	if note := e.object("services")["note"]; note != nil {
		t.Errorf("note = %v", note)
	}
}

// A form needs each field and all types, also those that contain themselves.
func TestMethod(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 0, Options{Catalog: formCatalog(t)})
	v := e.object("services/form.v1.Shop/Order")
	if v["kind"] != "unary" || v["request"] != "form.v1.Request" || at(t, v, "types", "form.v1.Request", "comment") != "Request is a tree." {
		t.Errorf("method = %v", v)
	}
	types := v["types"].(map[string]any)
	if len(types) != 2 || types["form.v1.Part"] == nil {
		t.Errorf("types = %v", types)
	}
	fields, err := json.Marshal(at(t, types, "form.v1.Request", "fields"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`{"comment":"of the thing","name":"name","number":1,"proto":"name","type":"string"}`,
		`{"name":"parts","number":2,"proto":"parts","ref":"form.v1.Request","repeated":true,"type":"message"}`,
		`{"key":"string","name":"byName","number":3,"proto":"by_name","type":"map","value":{"ref":"form.v1.Part","type":"message"}}`,
		`{"key":"int32","name":"levels","number":4,"proto":"levels","type":"map","value":{"ref":"form.v1.Level","type":"enum","values":["LEVEL_LOW","LEVEL_HIGH"]}}`,
		`{"hint":"\"1.5s\"","name":"ttl","number":5,"oneof":"until","proto":"ttl","ref":"google.protobuf.Duration","type":"message"}`,
		`{"name":"count","number":7,"optional":true,"proto":"count","type":"int64"}`,
		`{"name":"password","number":8,"proto":"password","secret":true,"type":"bytes"}`,
		`{"name":"level","number":9,"proto":"level","ref":"form.v1.Level","type":"enum","values":["LEVEL_LOW","LEVEL_HIGH"]}`,
	} {
		if !strings.Contains(string(fields), want) {
			t.Errorf("no %s in\n%s", want, fields)
		}
	}
	if at(t, v, "template", "parts") == nil {
		t.Errorf("template = %v", v["template"])
	}
	v = e.object("services/form.v1.Shop/Wait")
	if v["hint"] != `"1.5s"` || len(v["types"].(map[string]any)) != 0 || v["template"] != "0s" {
		t.Errorf("with a Duration as request: %v", v)
	}
}

// Without any types, services say so, and messages have numbers.
func TestNoTypes(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1, Options{Catalog: reflection.NewCatalog()})
	if err := e.key(0, "z9"); err != nil {
		t.Fatal(err)
	}
	id := e.await(ended("CreateKey"))
	if got := at(t, e.object(callPath(id, "/messages")), "messages", 0, "fields", "1"); got != "z9" {
		t.Errorf("fields = %v", got)
	}
	v := e.object("services")
	if v["note"] == nil || at(t, v, "services", 0, "name") != "wstun.demo.v1.Hub" {
		t.Errorf("services = %v", v)
	}
}
