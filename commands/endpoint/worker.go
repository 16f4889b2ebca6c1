package endpoint

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/relay"
)

// NameFlag returns the flag of a command that is a Worker at a relay.
func (o *Options) NameFlag() cli.Flag {
	return usage.String(&o.Name, "name", "be the worker `NAME` at the relay that the URL is of", "")
}

// ToFlag returns the flag of a command that reaches a Worker through a relay.
func (o *Options) ToFlag() cli.Flag {
	return usage.String(&o.To, "to", "reach the worker `NAME` through the relay that the URL is of", "")
}

// applyWorker changes the URL, the subprotocol and the header of the handshake to those that
// a relay wants for the Worker of --name or --to.
func (o *Options) applyWorker(header http.Header) error {
	name, flag, role := o.To, "to", relay.Dial
	if o.Name != "" {
		name, flag, role = o.Name, "name", relay.Serve
	}
	if name == "" {
		return nil
	}
	if o.URL == "" {
		if o.Given["to"] || o.Given["name"] {
			return &usage.Error{Err: errors.New("--" + flag + " " + name + " without a URL"), Advice: "give the URL of the relay"}
		}
		return nil
	}
	if err := relay.CheckName(name); err != nil {
		return usage.Errorf("--%s %q: %w", flag, name, err)
	}
	u, err := url.Parse(o.URL)
	if err != nil {
		return err
	}
	if strings.Contains(u.EscapedPath(), relay.Path("", "")) {
		return &usage.Error{Err: errors.New("both --" + flag + " and the name of a worker in the URL"), Advice: "leave out one of them"}
	}
	if len(o.Subprotocols) > 0 {
		return usage.Errorf("both --%s and --subprotocol: a relay has subprotocols of its own", flag)
	}
	o.URL = u.JoinPath(relay.Path("", name)).String()
	o.Subprotocols = []string{string(role)}
	if role == relay.Serve && header.Get(relay.InstanceHeader) == "" {
		header.Set(relay.InstanceHeader, NewInstance())
	}
	return nil
}

// NewInstance returns a name for this process, by which the relay tells a Worker that dials
// again from another one with the same name.
func NewInstance() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// numberDial numbers the dials of a Worker, so that relays know the latest one, and repeats
// the SinceHeader of the first relay. opts are those of the next dial.
func (e *Endpoint) numberDial(opts *tunnel.DialOptions) {
	if opts.Header.Get(relay.InstanceHeader) == "" {
		return
	}
	opts.Header.Set(relay.SeqHeader, strconv.FormatUint(e.dials.Add(1), 10))
	if since := e.since.Load(); since != nil {
		opts.Header.Set(relay.SinceHeader, *since)
		return
	}
	opts.Upgraded = func(h http.Header) {
		if since := h.Get(relay.SinceHeader); since != "" {
			e.since.CompareAndSwap(nil, &since)
		}
	}
}
