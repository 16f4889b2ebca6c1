package proxy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

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
}

// newRoutes merges the tables of the upstreams, the first of which win.
func newRoutes(upstreams []*Upstream, tables map[*Upstream][]string) *routes {
	r := &routes{services: make(map[string]*Upstream)}
	for _, u := range upstreams {
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

// find returns the upstream for a service, or a status error.
func (r *routes) find(service string) (*Upstream, error) {
	if u := r.services[service]; u != nil {
		return u, nil
	}
	if r.unknown != nil {
		return r.unknown, nil
	}
	names := slices.Sorted(maps.Keys(r.services))
	have := "no services"
	if n := len(names); n > maxNamed {
		have = fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), n-maxNamed)
	} else if n > 0 {
		have = strings.Join(names, ", ")
	}
	if len(service) > maxName {
		service = service[:maxName] + "…"
	}
	return nil, status.Errorf(codes.Unimplemented, "unknown service %s: the upstreams have %s", service, have)
}
