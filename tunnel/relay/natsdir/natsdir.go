// Package natsdir is a directory of Workers for several relays, on core NATS.
//
//	d, err := natsdir.Connect(natsdir.Options{Servers: "nats://n1,nats://n2", ID: "r1", URL: "http://10.0.3.7:7070"})
//	defer d.Close()
//	r := relay.New(relay.Options{ID: "r1", Directory: d, Hop: transport})
//
// A relay that has the Worker NAME subscribes to wstun.w.NAME. To find NAME, others send a
// request to that subject: the response has the relay's URL, and NATS itself responds if
// there is no subscription. Nothing is stored, so nothing is stale once the connection of a
// relay is lost. The relay also publishes its claim to wstun.w.NAME when the Worker arrives,
// and again when it has reconnected with NATS: of two relays that have the name, the one
// with the older claim yields. Its URL goes to wstun.a.NAME at the same time, for those that
// wait for the Worker. Relays find each other at wstun.relays.
//
// Without NATS, relays keep the Workers and the claims that they have, and find no others.
//
// Security: a program with access to these subjects can take every name, and receives the
// credentials of engineers. Give the relays a NATS account of their own, and TLS between
// them with an authority of their own.
//
// All methods may be called from any goroutine.
package natsdir

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/wstun/wstun/tunnel/relay"
)

const (
	namePrefix    = "wstun.w." // of the subjects of names
	arrivalPrefix = "wstun.a." // of the subjects of arrivals

	// pingInterval and maxPings bound how long a server may be silent: nats.go's defaults
	// are minutes.
	pingInterval = 2 * time.Second
	maxPings     = 1

	connectTimeout = 2 * time.Second
	reconnectWait  = 250 * time.Millisecond
	flushTimeout   = 2 * time.Second // for a write to a server that doesn't read

	maxPayload = 1024 // bytes; longer messages are ignored
	maxPending = 8192 // messages that wait for run; NATS drops further ones
	maxID      = 64
)

// Options adjusts a Directory.
type Options struct {
	// Servers are the URLs of NATS servers, separated by commas.
	Servers string

	// Creds is the file with the credentials of a NATS user. CACert, Cert and Key are
	// files for TLS; with a tls:// URL it is used without them, too. All are read at each
	// connection. Default: none.
	Creds, CACert, Cert, Key string

	// ID is the ID of this relay, and URL the one at which the others reach it.
	ID, URL string

	// Logger logs the loss and the return of the connection. Default: nothing is logged.
	Logger *slog.Logger
}

// Directory implements relay.Directory. Connect returns one.
type Directory struct {
	id, url   string
	answer    string // where this relay is
	conn      *nats.Conn
	claims    *claims
	peers     *peers
	inbox     string        // of the answers of peers
	connected chan struct{} // has a value after each connection
	messages  chan *nats.Msg
	closed    chan struct{}
	running   sync.WaitGroup
}

// Connect returns a Directory. It connects in the background, again and again, and doesn't
// fail if no server can be reached. The error says which option is invalid.
func Connect(opts Options) (*Directory, error) {
	if err := relay.CheckURL(opts.URL); err != nil {
		return nil, fmt.Errorf("URL %q: %w", opts.URL, err)
	}
	answer, err := json.Marshal(location{URL: opts.URL, Relay: opts.ID})
	if err != nil {
		return nil, err
	}
	if len(answer) > maxPayload || len(opts.ID) > maxID {
		return nil, errors.New("ID or URL too long")
	}
	d := &Directory{
		id: opts.ID, url: opts.URL, answer: string(answer), claims: newClaims(), peers: newPeers(),
		inbox: nats.NewInbox(), connected: make(chan struct{}, 1),
		messages: make(chan *nats.Msg, maxPending), closed: make(chan struct{}),
	}
	if d.conn, err = nats.Connect(opts.Servers, append(opts.files(), d.options(newConnLog(opts.Logger))...)...); err != nil {
		return nil, err
	}
	for _, subject := range []string{peersSubject, d.inbox} {
		if _, err := d.conn.ChanSubscribe(subject, d.messages); err != nil {
			d.conn.Close()
			return nil, err
		}
	}
	d.running.Go(d.run)
	return d, nil
}

// files returns the options that files set.
func (o *Options) files() (list []nats.Option) {
	if o.Creds != "" {
		list = append(list, nats.UserCredentials(o.Creds))
	}
	if o.CACert != "" {
		list = append(list, nats.RootCAs(o.CACert))
	}
	if o.Cert != "" {
		list = append(list, nats.ClientCert(o.Cert, o.Key))
	}
	return list
}

func (d *Directory) options(log *connLog) []nats.Option {
	connected := func(c *nats.Conn) {
		log.connected(c.ConnectedUrlRedacted())
		d.claims.changeAll()
		select {
		case d.connected <- struct{}{}:
		default:
		}
	}
	return []nats.Option{
		nats.Name("wstun relay " + d.id),
		nats.NoEcho(), // all answers are of other relays
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // credentials may change
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectBufSize(-1), // claims are published again
		nats.Timeout(connectTimeout),
		nats.FlusherTimeout(flushTimeout),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(maxPings),
		nats.ConnectHandler(connected),
		nats.ReconnectHandler(connected),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { log.failed(err) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { log.failed(err) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if !errors.Is(err, nats.ErrSlowConsumer) { // the other relay asks again
				log.failed(err)
			}
		}),
	}
}

// Close withdraws all claims. No yield is called afterwards.
func (d *Directory) Close() {
	close(d.closed)
	d.leave()
	d.conn.Close()
	d.running.Wait()
}

// Claim implements relay.Directory. It ignores invalid names.
func (d *Directory) Claim(name string, by relay.Instance, yield func(instance string)) (release func()) {
	if relay.CheckName(name) != nil {
		return func() {}
	}
	return d.claims.add(name, &ownClaim{claim{by.ID, by.Seq, d.id, by.Since.UnixNano()}, yield})
}

// run publishes the claims and answers messages.
func (d *Directory) run() {
	for {
		select {
		case <-d.closed:
			return
		case <-d.claims.wake:
			for name := range d.claims.takeChanged() {
				d.publish(name)
			}
		case <-d.connected:
			_ = d.announce() // an error means that there will be another connection
		case m := <-d.messages:
			d.receive(m)
		}
	}
}

// publish subscribes to a name and publishes its claim, or unsubscribes. Errors mean that
// there is no connection: then all claims are published again at the next one.
func (d *Directory) publish(name string) {
	e, c := d.claims.take(name)
	switch {
	case e == nil:
	case c == nil:
		if e.sub != nil {
			_ = e.sub.Unsubscribe()
		}
	default:
		if e.sub == nil {
			e.sub, _ = d.conn.ChanSubscribe(namePrefix+name, d.messages)
		}
		text, err := json.Marshal(message{Claim: &c.claim})
		if err == nil {
			_ = d.conn.Publish(namePrefix+name, text)
		}
		_ = d.conn.Publish(arrivalPrefix+name, []byte(d.answer))
	}
}

// message is a message to the relays that have a name: a request for their URL, which has a
// reply subject, or the claim of another one.
type message struct {
	Claim *claim `json:"claim,omitempty"`
}

// respond answers a request, at an inbox only.
func (d *Directory) respond(m *nats.Msg, answer string) {
	if strings.HasPrefix(m.Reply, nats.InboxPrefix) {
		_ = m.Respond([]byte(answer))
	}
}

// receive handles a message to a name of this relay, or to all relays.
func (d *Directory) receive(m *nats.Msg) {
	if m.Subject == peersSubject || m.Subject == d.inbox {
		d.answerPeer(m)
		return
	}
	name, ok := strings.CutPrefix(m.Subject, namePrefix)
	if !ok || len(m.Data) > maxPayload {
		return
	}
	if m.Reply != "" {
		answer := "{}" // the claim was withdrawn
		if d.claims.has(name) {
			answer = d.answer
		}
		d.respond(m, answer)
		return
	}
	if c, ok := parseClaim(m.Data); ok {
		d.claims.receive(name, c)
	}
}

// parseClaim returns the claim in a message, if it has a valid one.
func parseClaim(data []byte) (claim, bool) {
	var msg message
	if json.Unmarshal(data, &msg) != nil || msg.Claim == nil {
		return claim{}, false
	}
	c := *msg.Claim
	return c, len(c.Relay) <= maxID && (c.Instance == "" || relay.CheckInstance(c.Instance) == nil)
}
