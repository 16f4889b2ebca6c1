package endpoint

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel/forward"
	"github.com/wstun/wstun/tunnel/mux"
	"github.com/wstun/wstun/tunnel/netdiag"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// ErrWantsInnerTLS is the answer of a Worker with --inner-cert to calls without TLS.
var ErrWantsInnerTLS = errors.New("the worker takes only calls with TLS inside the session: use --inner-tls")

// InnerOptions are the values of the flags for TLS inside the streams.
type InnerOptions struct {
	TLS               bool   // of a side that opens streams
	Cert, Key, CACert string // paths; may be empty
}

// WorkerFlags returns the flags of a command that is a Worker.
func (o *Options) WorkerFlags() []cli.Flag {
	o.isWorker = true
	return []cli.Flag{
		o.NameFlag(),
		usage.Path(&o.Inner.Cert, "inner-cert", "take only calls with TLS from end to end, also through relays, with the certificate in `PATH`"),
		usage.Path(&o.Inner.Key, "inner-key", "private key `PATH` of --inner-cert"),
		usage.Path(&o.Inner.CACert, "inner-cacert", "demand client certificates of the authority in `PATH` for calls"),
	}
}

// EngineerFlags returns the flags of a command that reaches a Worker.
func (o *Options) EngineerFlags() []cli.Flag {
	return []cli.Flag{
		o.ToFlag(),
		usage.Bool(&o.Inner.TLS, "inner-tls", "call with TLS up to the worker, through relays; its certificate must be for the name in --to"),
		usage.Path(&o.Inner.CACert, "inner-cacert", "with --inner-tls: trust the authority in `PATH` for the worker's certificate"),
		usage.Path(&o.Inner.Cert, "inner-cert", "with --inner-tls: client certificate `PATH` for the worker"),
		usage.Path(&o.Inner.Key, "inner-key", "private key `PATH` of --inner-cert"),
	}
}

// inner is the TLS inside the streams of an Endpoint.
type inner struct {
	files  *TLS
	worker string // its name; empty: this side is the Worker
	given  usage.Given

	onFailure func(error) // nil: failures are logged

	mu      sync.Mutex
	failure netdiag.Failure
}

// newInner checks the flags for TLS inside the streams. It returns nil without them.
func (o *Options) newInner() (*inner, error) {
	if !o.isWorker && !o.Inner.TLS {
		if err := o.Given.Reject("--inner-tls", "inner-cert", "inner-key", "inner-cacert"); err != nil {
			return nil, err
		}
		return nil, nil //nolint:nilnil // no TLS, no error
	}
	files, err := NewTLS("--inner-", &TLSOptions{Cert: o.Inner.Cert, Key: o.Inner.Key, CACert: o.Inner.CACert})
	switch {
	case err != nil:
		return nil, err
	case !o.isWorker && (o.To == "" || o.URL == ""):
		return nil, &usage.Error{Err: errors.New("--inner-tls without --to: the worker's certificate must be for a name"), Advice: "give the worker's name with --to, and the URL of its relay"}
	case !o.isWorker:
		return &inner{files: files, worker: o.To, given: o.Given}, nil
	case files.certificate != nil:
		return &inner{files: files, given: o.Given}, nil
	case files.authorities != nil:
		return nil, &usage.Error{Err: errors.New("--inner-cacert demands client certificates, which needs inner TLS"), Advice: "give the worker's certificate with --inner-cert and --inner-key"}
	}
	return nil, nil //nolint:nilnil // no TLS, no error
}

// session returns the TLS of the streams of a session; nil without.
func (in *inner) session(logger *slog.Logger) *wsmux.TLS {
	if in == nil {
		return nil
	}
	t := &wsmux.TLS{
		Opened: func(s *wsmux.Stream, state tls.ConnectionState) { in.opened(logger, s, state) },
		Failed: func(s *wsmux.Stream, err error) { in.failed(logger, s.RemoteAddr(), err) },
	}
	if in.worker != "" {
		t.Client = func() *tls.Config { return in.client(logger) }
		return t
	}
	refusal := &refusal{in: in, logger: logger}
	refusal.Dial = refusal.dial
	t.Plaintext = refusal.serve
	t.Server = func() *tls.Config { return in.server(logger) }
	return t
}

// refusal answers calls without TLS.
type refusal struct {
	forward.Forwarder
	in     *inner
	logger *slog.Logger
}

func (r *refusal) serve(c wsmux.Conn) {
	r.in.failed(r.logger, c.RemoteAddr(), ErrWantsInnerTLS)
	r.ServeStream(c)
}

func (*refusal) dial(context.Context) (net.Conn, error) { return nil, ErrWantsInnerTLS }

// config returns the settings that both ends have in common.
func (in *inner) config(logger *slog.Logger) *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, SessionTicketsDisabled: true, DynamicRecordSizingDisabled: true}
	if in.files.certificate != nil {
		config.Certificates = in.files.certificate.get(logger)
	}
	return config
}

func (in *inner) client(logger *slog.Logger) *tls.Config {
	config := in.config(logger)
	config.ServerName = in.worker
	if in.files.authorities != nil {
		config.RootCAs = in.files.authorities.get(logger)
	}
	return config
}

func (in *inner) server(logger *slog.Logger) *tls.Config {
	config := in.config(logger)
	if in.files.authorities != nil {
		config.ClientCAs = in.files.authorities.get(logger)
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config
}

// opened logs the identity of a caller.
func (in *inner) opened(logger *slog.Logger, s *wsmux.Stream, state tls.ConnectionState) {
	if in.worker == "" && len(state.PeerCertificates) > 0 {
		logger.Info("caller verified", slog.String("client", CertificateName(state.PeerCertificates[0])), slog.String("remote_addr", s.RemoteAddr().String()))
	}
}

// failed logs a failure of TLS in a stream, at warn level if the failure before had another
// reason.
func (in *inner) failed(logger *slog.Logger, remote net.Addr, err error) {
	if in.onFailure != nil {
		in.onFailure(err)
		return
	}
	in.mu.Lock()
	isNew := in.failure.IsNew(err)
	in.mu.Unlock()
	attrs := []any{slog.Any("err", err), slog.String("remote_addr", remote.String())}
	if hint := InnerHint(err, in.given); hint != "" {
		attrs = append(attrs, slog.String("hint", hint))
	}
	if isNew {
		logger.Warn("inner tls failed", attrs...)
	} else {
		logger.Debug("inner tls failed", attrs...)
	}
}

// Expires returns when the first of this side's certificates expires, that for TLS or that for TLS
// inside the streams, or the zero time without any.
func (e *Endpoint) Expires(logger *slog.Logger) time.Time {
	outer := e.TLS.Expires(logger)
	if e.inner == nil {
		return outer
	}
	if at := e.inner.files.Expires(logger); outer.IsZero() || !at.IsZero() && at.Before(outer) {
		return at
	}
	return outer
}

// OnInnerFailure makes e call f when the TLS in a stream fails, instead of logging that. It must
// be called before the first session.
func (e *Endpoint) OnInnerFailure(f func(error)) {
	if e.inner != nil {
		e.inner.onFailure = f
	}
}

// CertificateName returns the subject of a certificate, or else its first name.
func CertificateName(cert *x509.Certificate) string {
	switch {
	case cert.Subject.String() != "":
		return cert.Subject.String()
	case len(cert.DNSNames) > 0:
		return cert.DNSNames[0]
	case len(cert.URIs) > 0:
		return cert.URIs[0].String()
	case len(cert.EmailAddresses) > 0:
		return cert.EmailAddresses[0]
	}
	return "no name"
}

// InnerHint returns advice on an error of TLS inside the streams, "" if there is none.
func InnerHint(err error, given usage.Given) string {
	te, ok := errors.AsType[*wsmux.TLSError](err)
	if !ok {
		return ""
	}
	if te.Name == "" {
		return workerHint(te)
	}
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, name := errors.AsType[x509.HostnameError](err)
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	alert := netdiag.Alert(err)
	switch {
	case unknown && given.Set("inner-cacert"):
		return "another authority than that of --inner-cacert has issued the certificate: something else answers for " + te.Name + ", such as the relay, or the file is the wrong one"
	case unknown:
		return "name the authority of the worker's certificate with --inner-cacert"
	case name:
		return "another worker answers for " + te.Name + ", or its --inner-cert has the wrong names: it needs a DNS name " + te.Name
	case isInvalid && invalid.Reason == x509.Expired:
		return "have the certificate of the worker's --inner-cert renewed, or check this machine's clock"
	case strings.Contains(alert, "certificate") && given.Set("inner-cert"):
		return "the worker doesn't trust the client certificate of --inner-cert: check its authority, and whether it has expired"
	case strings.Contains(alert, "certificate"):
		return "the worker wants a client certificate that it trusts: give it with --inner-cert and --inner-key"
	case netdiag.NotTLS(err), errors.Is(err, mux.ErrReset), te.Handshake && errors.Is(err, wsmux.ErrTruncated):
		return "something else may answer for " + te.Name + ", such as the relay, or the worker has no --inner-cert: without --inner-tls, the calls wouldn't be protected"
	case !te.Handshake:
		return hintChanged
	}
	return ""
}

// InnerRefused reports whether err means that the peer refuses the certificate for the TLS inside
// the streams, or the lack of one.
func InnerRefused(err error) bool {
	_, ok := errors.AsType[*wsmux.TLSError](err)
	return ok && strings.Contains(netdiag.Alert(err), "certificate")
}

const hintChanged = "something between the two ends, such as the relay, has changed or cut off the bytes"

// workerHint is InnerHint at the Worker.
func workerHint(te *wsmux.TLSError) string {
	_, unknown := errors.AsType[x509.UnknownAuthorityError](te)
	switch text := te.Error(); {
	case unknown:
		return "another authority than that of --inner-cacert has issued the caller's certificate"
	case strings.Contains(text, "didn't provide a certificate"):
		return "the caller needs a client certificate: --inner-cert and --inner-key"
	case strings.Contains(netdiag.Alert(te), "certificate"):
		return "the caller refuses the certificate of --inner-cert: check its names, its authority and whether it has expired"
	case !te.Handshake:
		return hintChanged
	}
	return ""
}
