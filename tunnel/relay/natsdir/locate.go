package natsdir

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/wstun/wstun/tunnel/relay"
)

const (
	findTimeout = time.Second            // of one request
	retryFailed = 100 * time.Millisecond // when a request has failed
	retryAbsent = time.Second            // in case the message of the arrival is lost
)

// location is where a relay, or a Worker is.
type location struct {
	URL     string `json:"url,omitempty"` // "": not at this relay any more
	Relay   string `json:"relay,omitempty"`
	Leaving bool   `json:"leaving,omitempty"` // the relay
}

// parseURL returns the URL in a message of another relay, "" if there is no valid one.
func parseURL(data []byte) string {
	var l location
	if len(data) > maxPayload || json.Unmarshal(data, &l) != nil || relay.CheckURL(l.URL) != nil {
		return ""
	}
	return l.URL
}

// Locate implements relay.Directory.
func (d *Directory) Locate(ctx context.Context, name string) (string, error) {
	if err := relay.CheckName(name); err != nil {
		return "", err
	}
	if url, err := d.find(ctx, name); url != "" {
		return url, nil
	} else if errors.Is(err, nats.ErrConnectionClosed) {
		return "", err
	}
	arrivals := make(chan *nats.Msg, 1)
	sub, err := d.conn.ChanSubscribe(arrivalPrefix+name, arrivals)
	if err != nil {
		return "", err
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection is closed
	for {
		url, failure := d.find(ctx, name) // again: it may have arrived before the subscription
		if url != "" {
			return url, nil
		}
		wait := retryAbsent
		if failure != nil {
			wait = retryFailed
		}
		timer := time.NewTimer(wait)
		select {
		case m := <-arrivals:
			url = parseURL(m.Data)
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		switch {
		case url != "":
			return url, nil
		case ctx.Err() == nil:
		case failure != nil:
			return "", failure
		default:
			return "", context.Cause(ctx)
		}
	}
}

var (
	errDown   = errors.New("NATS can't be reached")
	errSilent = errors.New("NATS or a relay doesn't answer")
	errStale  = errors.New("a relay that doesn't have the worker answers")
)

// find returns the URL of another relay that has the Worker, "" without an error if there is
// none.
func (d *Directory) find(ctx context.Context, name string) (string, error) {
	if !d.conn.IsConnected() && !d.conn.IsClosed() {
		return "", errDown
	}
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	m, err := d.conn.RequestWithContext(ctx, namePrefix+name, nil)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return "", nil
	case errors.Is(err, nats.ErrReconnectBufExceeded):
		return "", errDown
	case ctx.Err() != nil:
		return "", errSilent
	case err != nil:
		return "", err
	}
	url := parseURL(m.Data)
	if url == "" {
		return "", errStale
	}
	return url, nil
}
