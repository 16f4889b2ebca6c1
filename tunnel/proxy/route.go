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

// Limits of an error message.
const (
	maxNamed = 20  // services of the upstreams
	maxName  = 200 // bytes of the requested service
)

// routes is an immutable routing table.
type routes struct {
	services map[string]*Upstream // service → the first upstream with it
	unknown  *Upstream            // the first whose services are unknown, or nil
	first    *Upstream            // nil without upstreams
}

// newRoutes merges the tables of the upstreams. The first upstream with a service wins.
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

// find returns the upstream for a service, nil without upstreams. guess is true if no
// upstream is known to have the service.
func (r *routes) find(service string) (u *Upstream, guess bool) {
	if u := r.services[service]; u != nil {
		return u, false
	}
	if r.unknown != nil {
		return r.unknown, false
	}
	return r.first, true
}

// unimplemented returns the error for a service that no upstream has, with the services
// of all upstreams. st is the status of the upstream that got the call, or nil.
func (r *routes) unimplemented(service string, st *status.Status) error {
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
