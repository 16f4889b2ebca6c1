package admin

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/wstun/wstun/commands/monitor"
)

// collector collects the metrics of a process when they are asked for. No label has text
// from a peer, so their number doesn't grow.
type collector struct {
	monitor *monitor.Monitor
	metrics []*metric
}

// metric is one metric with the function that collects its values.
type metric struct {
	desc    *prometheus.Desc
	kind    prometheus.ValueType
	collect func(t *monitor.Totals, put func(value float64, label ...string))
}

func (c *collector) add(kind prometheus.ValueType, name, help string, collect func(t *monitor.Totals, put func(float64, ...string)), labels ...string) {
	c.metrics = append(c.metrics, &metric{prometheus.NewDesc("wstun_"+name, help, labels, nil), kind, collect})
}

// number returns a function that collects one value.
func number[T int | int64 | uint64](f func(t *monitor.Totals) T) func(t *monitor.Totals, put func(float64, ...string)) {
	return func(t *monitor.Totals, put func(float64, ...string)) { put(float64(f(t))) }
}

func newCollector(m *monitor.Monitor) *collector {
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	c := &collector{monitor: m}
	c.add(gauge, "build_info", "The running wstun: 1.", func(t *monitor.Totals, put func(float64, ...string)) {
		put(1, t.Info.Version, t.Info.Command)
	}, "version", "command")
	c.add(gauge, "ready", "Whether /readyz answers with 200.", func(t *monitor.Totals, put func(float64, ...string)) {
		ready := 0.0
		if t.Ready {
			ready = 1
		}
		put(ready)
	})
	c.add(gauge, "sessions", "Sessions that are up.", number(func(t *monitor.Totals) int { return t.Sessions }))
	c.add(counter, "sessions_total", "Sessions since the start.", number(func(t *monitor.Totals) uint64 { return t.AllSessions }))
	c.add(counter, "session_ends_total", "Sessions that have ended, by reason.", func(t *monitor.Totals, put func(float64, ...string)) {
		for reason, n := range t.Ends {
			put(float64(n), reason.String())
		}
	}, "reason")
	c.add(counter, "reconnects_total", "Waits before another dial, by the reason for it.", func(t *monitor.Totals, put func(float64, ...string)) {
		for reason, n := range t.Retries {
			put(float64(n), reason.String())
		}
	}, "reason")
	c.add(gauge, "last_close_code", "The status code of the last Close frame that a peer has sent; 0: none.", number(func(t *monitor.Totals) int { return t.LastClose }))
	c.add(gauge, "streams", "yamux streams that are open.", number(func(t *monitor.Totals) int { return t.Streams }))
	c.add(counter, "streams_total", "yamux streams since the start, by the side that has opened them.", func(t *monitor.Totals, put func(float64, ...string)) {
		put(float64(t.Opened), "wstun")
		put(float64(t.Accepted), "peer")
	}, "opened_by")
	c.add(counter, "received_bytes_total", "Bytes of the data on streams that wstun has received.", number(func(t *monitor.Totals) int64 { return t.Bytes.In }))
	c.add(counter, "sent_bytes_total", "Bytes of the data on streams that wstun has sent.", number(func(t *monitor.Totals) int64 { return t.Bytes.Out }))
	c.add(gauge, "rpcs_open", "Calls that are open.", number(func(t *monitor.Totals) int { return t.OpenCalls }))
	c.add(counter, "rpcs_total", "Calls that have ended, by gRPC status; NO_STATUS: cancelled or cut.", func(t *monitor.Totals, put func(float64, ...string)) {
		for code, n := range t.RPCs {
			put(float64(n), monitor.CodeName(code))
		}
	}, "code")
	c.add(gauge, "round_trip_seconds", "Round-trip time of the last WebSocket Ping: the least and the most of the sessions that are up.", func(t *monitor.Totals, put func(float64, ...string)) {
		if t.MostRoundTrip > 0 {
			put(t.LeastRoundTrip.Seconds(), "least")
			put(t.MostRoundTrip.Seconds(), "most")
		}
	}, "of")
	c.add(gauge, "certificate_expiry_timestamp_seconds", "When the certificate of --cert expires, and the first one of peers.", func(t *monitor.Totals, put func(float64, ...string)) {
		for of, at := range map[string]time.Time{"own": t.OwnExpires, "peer": t.PeerExpires} {
			if !at.IsZero() {
				put(float64(at.Unix()), of)
			}
		}
	}, "of")
	c.add(gauge, "upstream_up", "Whether an upstream is up, by its place on the command line.", func(t *monitor.Totals, put func(float64, ...string)) {
		for i, u := range t.Upstreams {
			up := 0.0
			if u.Up {
				up = 1
			}
			put(up, strconv.Itoa(i+1))
		}
	}, "upstream")
	c.addRelay()
	c.add(counter, "trace_lost_total", "What the trace and the recording had no room for.", func(t *monitor.Totals, put func(float64, ...string)) {
		put(float64(t.Lost.Events), "events")
		put(float64(t.Lost.Calls), "calls")
		put(float64(t.Lost.Conns), "connections")
		put(float64(t.Lost.Bytes), "bytes")
	}, "of")
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(descs chan<- *prometheus.Desc) {
	for _, m := range c.metrics {
		descs <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(values chan<- prometheus.Metric) {
	totals := c.monitor.Totals()
	for _, m := range c.metrics {
		m.collect(totals, func(value float64, labels ...string) {
			values <- prometheus.MustNewConstMetric(m.desc, m.kind, value, labels...)
		})
	}
}

// metrics returns the handler of /metrics, which has the metrics of Go and of the process,
// too.
func (a *Admin) metrics() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(newCollector(a.Monitor), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}
