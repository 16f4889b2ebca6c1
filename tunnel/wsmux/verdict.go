package wsmux

import (
	"crypto/tls"
	"errors"
	"io"
	"os"
	"time"
)

// verdictWait bounds the wait for a verdict. A server without session tickets may give none.
const verdictWait = time.Second

// verdict finds out whether a server accepts the client's certificate. In TLS 1.3, the client's
// handshake is complete before the server has verified that. The server then sends an
// alert, or else a session ticket or data.
type verdict struct {
	raw *sealed
	due bool // the server has asked for a certificate

	waiting bool // await is running
}

// configure changes a client's config.
func (v *verdict) configure(config *tls.Config) *tls.Config {
	config = config.Clone()
	config.SessionTicketsDisabled = false
	config.ClientSessionCache = v
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		v.due = true
		if len(config.Certificates) > 0 { // also one that the server won't accept, for a clear alert
			return &config.Certificates[0], nil
		}
		return &tls.Certificate{}, nil
	}
	return config
}

// Get implements tls.ClientSessionCache: sessions aren't resumed.
func (v *verdict) Get(string) (*tls.ClientSessionState, bool) { return nil, false }

// Put makes await return. Reads of the connection call it.
func (v *verdict) Put(string, *tls.ClientSessionState) {
	if v.waiting {
		v.raw.nonblocking = true
	}
}

// await waits for the verdict. It returns data that it has read.
func (v *verdict) await(conn *tls.Conn) (first []byte, err error) {
	_ = v.raw.SetReadDeadline(time.Now().Add(verdictWait))
	v.waiting = true
	defer func() {
		v.waiting, v.raw.nonblocking = false, false
		_ = v.raw.SetReadDeadline(time.Time{})
	}()
	first = make([]byte, 1)
	n, err := conn.Read(first)
	if errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) { // the next Read returns the former
		err = nil
	}
	return first[:n], err
}
