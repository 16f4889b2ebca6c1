package admin

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wstun/wstun/commands/monitor"
	"github.com/wstun/wstun/tunnel/relay"
)

// refusalReasons are the labels of refused handshakes, by HTTP status; others are "other".
var refusalReasons = map[int]string{
	http.StatusBadRequest:         "invalid",
	http.StatusUnauthorized:       "unauthenticated",
	http.StatusForbidden:          "forbidden",
	http.StatusNotFound:           "absent",
	http.StatusConflict:           "taken",
	http.StatusMisdirectedRequest: "moved",
	http.StatusTooManyRequests:    "quota",
	http.StatusBadGateway:         "hop",
	http.StatusServiceUnavailable: "unavailable",
}

// addRelay adds the metrics of a relay, which have no values for other processes.
func (c *collector) addRelay() {
	add := func(kind prometheus.ValueType, name, help string, collect func(t *relay.Totals, put func(float64, ...string)), labels ...string) {
		c.add(kind, "relay_"+name, help, func(t *monitor.Totals, put func(float64, ...string)) {
			if t.Relay != nil {
				collect(t.Relay, put)
			}
		}, labels...)
	}
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	add(gauge, "workers", "Workers that can be dialed here.", func(t *relay.Totals, put func(float64, ...string)) { put(float64(t.Now.Names)) })
	add(gauge, "sessions", "Sessions that are up, by role: serve for Workers, dial for engineers.", func(t *relay.Totals, put func(float64, ...string)) {
		put(float64(t.Now.Workers), "serve")
		put(float64(t.Now.Engineers), "dial")
	}, "role")
	add(counter, "sessions_total", "Sessions since the start, by role.", func(t *relay.Totals, put func(float64, ...string)) {
		put(float64(t.Workers), "serve")
		put(float64(t.Engineers), "dial")
	}, "role")
	add(gauge, "holds", "Dials that wait for a Worker.", func(t *relay.Totals, put func(float64, ...string)) { put(float64(t.Now.Holds)) })
	add(counter, "takeovers_total", "Names that another instance of a Worker has taken.", func(t *relay.Totals, put func(float64, ...string)) { put(float64(t.Takeovers)) })
	add(counter, "hops_total", "Dials that went on to another relay.", func(t *relay.Totals, put func(float64, ...string)) { put(float64(t.Hops)) })
	add(counter, "refusals_total", "Handshakes that were refused, by reason.", func(t *relay.Totals, put func(float64, ...string)) {
		counts := map[string]uint64{"other": 0}
		for _, reason := range refusalReasons {
			counts[reason] = 0
		}
		for code, n := range t.Refusals {
			reason, ok := refusalReasons[code]
			if !ok {
				reason = "other"
			}
			counts[reason] += n
		}
		for reason, n := range counts {
			put(float64(n), reason)
		}
	}, "reason")
}
