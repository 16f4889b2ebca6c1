package commands

import (
	"errors"
	"testing"

	"github.com/wstun/wstun/commands/check"
	"github.com/wstun/wstun/tunnel"
)

func TestLayers(t *testing.T) {
	t.Parallel()
	for i, layer := range check.Layers() {
		if layerHints[layer] == "" {
			t.Errorf("%s: there is nothing to do about it", layer)
		}
		r := check.Result{Layer: layer, Err: errors.New("no")}
		if got := layerStatus(r); got != 10+i {
			t.Errorf("%s: status %d, want %d", layer, got, 10+i)
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
