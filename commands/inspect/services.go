package inspect

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/commands/inspect/store"
	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/reflection"
	"github.com/wstun/wstun/tunnel/trace"
)

// serviceView is a service in JSON. See api.md.
type serviceView struct {
	Name    string        `json:"name"`
	Comment string        `json:"comment,omitempty"`
	Methods []*methodView `json:"methods"`
}

type methodView struct {
	Name      string   `json:"name"`
	Kind      string   `json:"kind,omitempty"`
	Request   string   `json:"request,omitempty"`
	Response  string   `json:"response,omitempty"`
	Comment   string   `json:"comment,omitempty"`
	Up        bool     `json:"up,omitempty"`
	Down      bool     `json:"down,omitempty"`
	Described *bool    `json:"described,omitempty"`
	Observed  observed `json:"observed"`
}

// observed has counts and times of the calls of a method.
type observed struct {
	Calls  int                     `json:"calls"`
	Failed int                     `json:"failed"`
	Open   int                     `json:"open"`
	P50    *recording.Milliseconds `json:"p50_ms,omitempty"`
	P95    *recording.Milliseconds `json:"p95_ms,omitempty"`
}

// services serves the services of the catalog, and those of the calls.
func (h *Handler) services(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	all := map[string]*serviceView{}
	symbols, err := h.opts.Catalog.All(ctx, reflection.Service)
	for name, symbol := range symbols {
		all[string(name)] = newServiceView(symbol.Descriptor.(protoreflect.ServiceDescriptor)) //nolint:errcheck,forcetypeassert // All returns this kind
	}
	for path, o := range observe(h.store.Calls()) {
		if m := methodOf(all, path); m != nil {
			m.Observed = o
		}
	}
	note := ""
	switch {
	case err != nil:
		note = err.Error()
	case len(symbols) == 0:
		note = "the types aren't known: the server has no reflection, or there is none"
	}
	services := slices.SortedFunc(maps.Values(all), compareServices)
	if services == nil {
		services = []*serviceView{}
	}
	reply(w, http.StatusOK, struct {
		Services []*serviceView `json:"services"`
		Note     string         `json:"note,omitempty"`
	}{services, note})
}

// compareServices sorts services by name, gRPC's own after the others.
func compareServices(a, b *serviceView) int {
	isOwn := func(s *serviceView) int {
		if trace.IsInfrastructure("/" + s.Name + "/") {
			return 1
		}
		return 0
	}
	return cmp.Or(isOwn(a)-isOwn(b), cmp.Compare(a.Name, b.Name))
}

func newServiceView(sd protoreflect.ServiceDescriptor) *serviceView {
	s := &serviceView{Name: string(sd.FullName()), Comment: comment(sd), Methods: []*methodView{}}
	for i := range sd.Methods().Len() {
		md := sd.Methods().Get(i)
		s.Methods = append(s.Methods, &methodView{
			Name: string(md.Name()), Kind: kindOf(md), Comment: comment(md), Up: md.IsStreamingClient(), Down: md.IsStreamingServer(),
			Request: string(md.Input().FullName()), Response: string(md.Output().FullName()),
		})
	}
	return s
}

// methodOf returns the method with a path, and adds it if it isn't there. It returns nil if
// the path has no method.
func methodOf(all map[string]*serviceView, path string) *methodView {
	service, name, ok := strings.Cut(text(strings.TrimPrefix(path, "/")), "/")
	if !ok || service == "" {
		return nil
	}
	s := all[service]
	if s == nil {
		s = &serviceView{Name: service}
		all[service] = s
	}
	if i := slices.IndexFunc(s.Methods, func(m *methodView) bool { return m.Name == name }); i >= 0 {
		return s.Methods[i]
	}
	m := &methodView{Name: name, Described: new(bool)}
	s.Methods = append(s.Methods, m)
	return m
}

// observe returns the counts and times of each method.
func observe(calls []store.Call) map[string]observed {
	all, times := map[string]observed{}, map[string][]time.Duration{}
	for i := range calls {
		c := &calls[i]
		o := all[c.Method]
		o.Calls++
		if code, _ := codeOf(c); !c.Ended {
			o.Open++
		} else if times[c.Method] = append(times[c.Method], c.Duration); code != codes.OK {
			o.Failed++
		}
		all[c.Method] = o
	}
	for method, list := range times {
		slices.Sort(list)
		o := all[method]
		o.P50, o.P95 = milliseconds(list[len(list)/2]), milliseconds(list[len(list)*95/100])
		all[method] = o
	}
	return all
}

// maxComment is how much of a comment is shown, in bytes.
const maxComment = 2 << 10

// comment returns the comment before the declaration of d.
func comment(d protoreflect.Descriptor) string {
	location := d.ParentFile().SourceLocations().ByDescriptor(d)
	c := cmp.Or(location.LeadingComments, location.TrailingComments)
	return strings.TrimSpace(text(c[:min(len(c), maxComment)]))
}
