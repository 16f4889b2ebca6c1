package proxy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What an error names is bounded.
const (
	maxNamed = 20  // services
	maxName  = 200 // bytes of the one that was asked for
)

// routes is a routing table, which is replaced and not changed.
type routes struct {
	services map[string]*Upstream // the first that has it
	unknown  *Upstream            // the first whose services aren't known, or nil
	first    *Upstream            // nil without upstreams
}

// newRoutes merges the tables of the upstreams, the first of which win.
func newRoutes(upstreams []*Upstream, tables map[*Upstream][]string) *routes {
	r := &routes{services: make(map[string]*Upstream)}
	for i, u := range upstreams {
		if i == 0 {
			r.first = u
		}
		services := tables[u]
		if services == nil && r.unknown == nil {
			r.unknown = u
		}
		for _, s := range services {
			if r.services[s] == nil {
				r.services[s] = u
			}
		}
	}
	return r
}

// find returns the upstream for a service, and whether that is a guess because
// nobody is known to have it; nil without upstreams.
func (r *routes) find(service string) (u *Upstream, guess bool) {
	if u := r.services[service]; u != nil {
		return u, false
	}
	if r.unknown != nil {
		return r.unknown, false
	}
	return r.first, true
}

// nobody returns the error of a call to a service that no upstream has, with the
// status st of the one that was asked, or nil. It says what there is.
func (r *routes) nobody(service string, st *status.Status) error {
	if len(service) > maxName {
		service = service[:maxName] + "…"
	}
	text := "unknown service " + service
	if st.Message() != "" {
		text = st.Message()
	}
	names := slices.Sorted(maps.Keys(r.services))
	have := "no services"
	if n := len(names); n > maxNamed {
		have = fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), n-maxNamed)
	} else if n > 0 {
		have = strings.Join(names, ", ")
	}
	p := &spb.Status{Code: int32(codes.Unimplemented), Details: st.Proto().GetDetails()}
	p.Message = text + ": the upstreams have " + have
	return status.FromProto(p).Err()
}
