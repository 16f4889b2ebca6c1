package commands

import (
	"errors"
	"testing"

	"github.com/wstun/wstun/commands/check"
	"github.com/wstun/wstun/tunnel"
)

func TestLayers(t *testing.T) {
	t.Parallel()
	statuses := map[check.Layer]int{
		check.DNS: 10, check.TCP: 11, check.Proxy: 12, check.TLS: 13, check.WebSocket: 14, check.Ping: 15,
		check.Yamux: 16, check.HTTP2: 17, check.Health: 18, check.Reflection: 19, check.Relay: 20, check.InnerTLS: 21,
	}
	for _, layer := range check.Layers() {
		if layerHints[layer] == "" {
			t.Errorf("%s: there is nothing to do about it", layer)
		}
		r := check.Result{Layer: layer, Err: errors.New("no")}
		if got := layerStatus(r); got != statuses[layer] {
			t.Errorf("%s: status %d, want %d", layer, got, statuses[layer])
		}
		r.Err = &tunnel.DialError{Err: &tunnel.HandshakeError{StatusCode: 403}}
		if got := layerStatus(r); got != exitRefused {
			t.Errorf("%s: status %d for refused credentials, want %d", layer, got, exitRefused)
		}
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	for want, r := range map[string]check.Result{
		"ok":   {},
		"note": {Note: true},
		"FAIL": {Err: errors.New("no")},
	} {
		if got, _ := verdict(r); got != want {
			t.Errorf("verdict(%+v) = %q, want %q", r, got, want)
		}
	}
}
