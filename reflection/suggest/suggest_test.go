package suggest

import (
	"slices"
	"strings"
	"testing"
)

func TestNear(t *testing.T) {
	t.Parallel()
	const (
		commands = "serve dial list describe call shell check demo completion man version help"
		flags    = "header connect-timeout drain-timeout ping-timeout max-retries log-level path cert proxy H"
		keys     = "when delay headers reply stream stay_open error trailers"
		methods  = "shop.v1.Store/Put shop.v1.Store/Get shop.v1.Depot/Put"
		services = "shop.v1.Store shop.v1.Depot other.Item"
	)
	for _, tt := range []struct{ name, names, want string }{
		{"serv", commands, "serve"},
		{"dail", commands, "dial"},
		{"desc", commands, "describe"},
		{"hlep", commands, "help"},
		{"ls", commands, ""},
		{"tunnel", commands, ""},
		{"loglevel", flags, "log-level"},
		{"headers", flags, "header"},
		{"retries", flags, "max-retries"},
		{"timeout", flags, "connect-timeout drain-timeout ping-timeout"},
		{"port", flags, ""},
		{"p", flags, ""},
		{"h", flags, "H"},
		{"relpy", keys, "reply"},
		{"Reply", keys, "reply"},
		{"body", keys, ""},
		{"NOTFOUND", "ABORTED NOT_FOUND UNKNOWN", "NOT_FOUND"},
		{"17", "ABORTED NOT_FOUND", ""},
		{"store/get", methods, "shop.v1.Store/Get"},
		{"shop.v1.Stroe.Get", methods, "shop.v1.Store/Get"},
		{"putt", methods, "shop.v1.Depot/Put shop.v1.Store/Put"},
		{"Stor", services, "shop.v1.Store"},
		{"Store", services, "shop.v1.Store"},
		{"shop.v2.Store", services, "shop.v1.Store"},
		{"far.away.Item", services, "other.Item"},
		{"third.Thing", services, ""},
		{"", services, ""},
		{".", services, ""},
		{"same", "same same", "same"},
		{"abcd", "abcde abcdf abcdg abcdh", "abcde abcdf abcdg"},
		{"abcd", "", ""},
	} {
		if got := Near(tt.name, strings.Fields(tt.names)); !slices.Equal(got, strings.Fields(tt.want)) {
			t.Errorf("Near(%q, %q) = %q, want %q", tt.name, tt.names, got, tt.want)
		}
	}
}

// The time of Jaro-Winkler is proportional to the product of both lengths: these names
// would take hours.
func TestNearLong(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ab", 8<<20)
	if got := Near("a"+strings.Repeat("b", 1000), []string{long}); got != nil {
		t.Errorf("Near(short) = %d long names, want none", len(got))
	}
	if got := Near(long, []string{"a" + strings.Repeat("b", 1000)}); got != nil {
		t.Errorf("Near(long) = %d short names, want none", len(got))
	}
}
