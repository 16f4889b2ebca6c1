package relay

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wstun/wstun/tunnel"
)

const workersPath = "/v1/workers"

// The numbers of Workers in a List.
const (
	DefaultLimit = 1000
	MaxLimit     = 10000
)

const (
	listTimeout  = 3 * time.Second // for the answers of the other relays
	maxLists     = 4               // that wait for other relays at a time
	listsAtOnce  = 8               // relays that one list waits for at a time
	maxListBytes = MaxLimit * 256  // more than the bytes of a WorkerInfo
)

// List is the JSON answer to GET <base>/v1/workers.
type List struct {
	Relay   string       `json:"relay,omitempty"` // the ID of the relay that answers
	Workers []WorkerInfo `json:"workers"`         // sorted by their names
	More    bool         `json:"more"`            // there are more than the limit

	// Missing are the IDs of the relays that haven't answered in time. Their Workers
	// aren't in the list.
	Missing []string `json:"missing,omitempty"`
}

// listQuery is the query of a request for a List.
type listQuery struct {
	prefix  string
	limit   int
	timeout time.Duration
}

func parseListQuery(q url.Values) (listQuery, error) {
	l := listQuery{q.Get("prefix"), DefaultLimit, listTimeout}
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > MaxLimit {
			return l, refuse(http.StatusBadRequest, "limit: want 1 to %d", MaxLimit)
		}
		l.limit = n
	}
	if text := q.Get("timeout"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			return l, refuse(http.StatusBadRequest, "timeout: want a duration such as 500ms")
		}
		l.timeout = min(d, listTimeout)
	}
	return l, nil
}

// list returns the Workers that the sender may dial: those at this relay, and unless another
// relay asks, at all others.
func (r *Relay) list(req *http.Request) (any, error) {
	q, err := parseListQuery(req.URL.Query())
	if err == nil {
		err = r.mayDial(req, "")
	}
	if err != nil {
		return nil, err
	}
	l := r.listOwn(req, &q)
	if r.opts.Directory == nil || r.opts.Hop == nil || req.Header.Get(ViaHeader) != "" {
		return l, nil
	}
	ctx, cancel := context.WithTimeout(req.Context(), q.timeout)
	defer cancel()
	select {
	case r.lists <- struct{}{}:
		defer func() { <-r.lists }()
	case <-ctx.Done():
		return nil, unavailable("too many requests for lists")
	}
	r.listOthers(ctx, req, &q, l)
	return l, nil
}

// listOwn returns the Workers at this relay that the sender may dial.
func (r *Relay) listOwn(req *http.Request, q *listQuery) *List {
	r.mu.Lock()
	var all []WorkerInfo
	for name, w := range r.names {
		if strings.HasPrefix(name, q.prefix) {
			all = append(all, r.describe(w))
		}
	}
	r.mu.Unlock()
	slices.SortFunc(all, func(a, b WorkerInfo) int { return cmp.Compare(a.Name, b.Name) })
	l := &List{Relay: r.opts.ID, Workers: []WorkerInfo{}}
	for _, info := range all {
		if r.mayDial(req, info.Name) != nil {
			continue
		}
		if len(l.Workers) == q.limit {
			l.More = true
			break
		}
		l.Workers = append(l.Workers, info)
	}
	return l
}

// listOthers adds the Workers at the other relays to l, until ctx ends.
func (r *Relay) listOthers(ctx context.Context, req *http.Request, q *listQuery, l *List) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, listsAtOnce)
	for _, p := range r.opts.Directory.Peers(ctx) {
		slots <- struct{}{} // until ctx ends at the latest
		wg.Go(func() {
			defer func() { <-slots }()
			other, err := r.askList(ctx, req, q, p.URL)
			if err != nil {
				r.logger.Warn("no list of workers from another relay", slog.String("id", p.ID), slog.String("url", p.URL), slog.Any("err", err))
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				l.Missing = append(l.Missing, cmp.Or(p.ID, p.URL))
				slices.Sort(l.Missing)
				return
			}
			l.merge(other, q.limit)
		})
	}
}

// merge adds the Workers of other, and removes those beyond limit. Of two with one name, one
// is just moving.
func (l *List) merge(other *List, limit int) {
	l.Workers = append(l.Workers, other.Workers...)
	slices.SortFunc(l.Workers, func(a, b WorkerInfo) int { return cmp.Or(cmp.Compare(a.Name, b.Name), b.Since.Compare(a.Since)) })
	l.Workers = slices.CompactFunc(l.Workers, func(a, b WorkerInfo) bool { return a.Name == b.Name })
	l.More = l.More || other.More || len(l.Workers) > limit
	l.Workers = l.Workers[:min(len(l.Workers), limit)]
}

// askList asks the relay at base for its own Workers, with the credentials of req. It returns
// an empty List if that lets the sender dial none.
func (r *Relay) askList(ctx context.Context, req *http.Request, q *listQuery, base string) (*List, error) {
	target, err := listURL(base, q.prefix, q.limit, 0)
	if err != nil {
		return nil, err
	}
	out, err := r.passOn(ctx, req, r.client(req), target)
	if err != nil {
		return nil, err
	}
	resp, err := r.opts.Hop.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return &List{}, nil
	default:
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxListBytes))
	if err != nil {
		return nil, err
	}
	return parseList(body)
}

// listURL returns the URL of the list of Workers at a relay. The query of rawURL stays.
// timeout is that for other relays; 0: the relay's default.
func listURL(rawURL, prefix string, limit int, timeout time.Duration) (string, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "", err
	}
	u = u.JoinPath(workersPath)
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	if prefix != "" {
		q.Set("prefix", prefix)
	}
	if timeout > 0 {
		q.Set("timeout", timeout.String())
	}
	u.RawQuery = strings.TrimPrefix(u.RawQuery+"&"+q.Encode(), "&")
	return u.String(), nil
}

// FetchList asks the relay at rawURL, which has its base as the path, for the Workers at all
// relays whose names begin with prefix, at most limit of them. If ctx has a deadline, half of
// the time is for relays that don't answer. It dials as [tunnel.Dial] does. The error is
// a *tunnel.DialError, or says that there is no relay.
func FetchList(ctx context.Context, rawURL, prefix string, limit int, opts *tunnel.DialOptions) (*List, error) {
	var timeout time.Duration
	if deadline, ok := ctx.Deadline(); ok {
		timeout = time.Until(deadline) / 2
	}
	u, err := listURL(rawURL, prefix, limit, timeout)
	if err != nil {
		return nil, err
	}
	body, err := tunnel.Get(ctx, u, opts, maxListBytes)
	if err != nil {
		return nil, err
	}
	return parseList(body)
}

var errNoList = errors.New("no relay there: its answer isn't a list of workers")

// parseList parses the body of a relay's answer. Other names than those of Workers are errors,
// so that they can be printed.
func parseList(body []byte) (*List, error) {
	var l List
	if err := json.Unmarshal(body, &l); err != nil || l.Workers == nil {
		return nil, errNoList
	}
	for _, info := range l.Workers {
		if CheckName(info.Name) != nil {
			return nil, errNoList
		}
	}
	return &l, nil
}
