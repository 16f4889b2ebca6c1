package check

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/wstun/wstun/tunnel/mux"
	"github.com/wstun/wstun/tunnel/wsmux"
)

// innerState is the result of the first TLS handshake in a stream.
type innerState struct {
	done  bool
	state tls.ConnectionState
	err   error
}

// startTLS completes the TLS handshake in stream, whose plaintext the observer then records.
func (s *session) startTLS(ctx context.Context, stream *wsmux.Stream) (net.Conn, error) {
	conn, err := s.opts.Dial.Session.TLS.Start(ctx, stream, &mux.StreamObserver{
		Received: func(p []byte) { s.observer.update(func(o *observation) { o.ours.receive(p) }) },
	})
	s.observer.update(func(o *observation) {
		if o.inner.done {
			return
		}
		o.inner.done, o.inner.err = true, err
		if err == nil {
			o.inner.state = conn.ConnectionState()
		}
	})
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// innerTLS waits for the end of the handshake in the first stream.
func (s *session) innerTLS(ctx context.Context) Result {
	o, ok := s.observer.wait(ctx, s.Session, func(o observation) bool { return o.inner.done })
	switch {
	case !ok && s.ended():
		return s.sessionFailure(InnerTLS)
	case !ok:
		err := context.Cause(ctx)
		return Result{Err: err, Detail: "TLS handshake: " + err.Error(), Hint: "the worker accepted the stream but is silent: it may have no inner TLS"}
	case o.inner.err != nil:
		r := Result{Err: o.inner.err}
		if ce, ok := errors.AsType[*tls.CertificateVerificationError](r.Err); ok && len(ce.UnverifiedCertificates) > 0 {
			r.Detail = r.Err.Error() + " (" + describeCertificate(ce.UnverifiedCertificates[0], time.Now()) + ")"
		}
		return r
	}
	return describeTLS(&o.inner.state, time.Now())
}
