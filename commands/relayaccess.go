package commands

import (
	"context"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel/relay"
	"github.com/wstun/wstun/tunnel/relay/policy"
)

// access applies the policy of a relay, as the file is now. A nil access lets everybody in.
type access struct {
	tokenHeader string
	logger      *slog.Logger
	current     func(*slog.Logger) *policy.Policy
}

// newAccess reads the file of --policy; nil without one.
func (o *relayOptions) newAccess(logger *slog.Logger) (*access, error) {
	if o.policy == "" {
		return nil, o.endpoint.Given.Reject("--policy", "token-header")
	}
	keys := &keySets{dir: filepath.Dir(o.policy), logger: logger}
	current, err := endpoint.Reloaded(func() (*policy.Policy, error) { return loadPolicy(o.policy, keys) }, o.policy)
	if err != nil {
		return nil, usage.Errorf("--policy %s: %w", o.policy, err)
	}
	return &access{o.tokenHeader, logger, current}, nil
}

// authorize returns the function that applies the policy, nil without one.
func (a *access) authorize() func(*http.Request, relay.Role, string) (relay.Grant, error) {
	if a == nil {
		return nil
	}
	return func(r *http.Request, role relay.Role, name string) (relay.Grant, error) {
		v, ok := r.Context().Value(verifiedKey{}).(*verified)
		if !ok {
			v = &verified{}
		}
		v.once.Do(func() { //nolint:contextcheck // it uses that of r
			v.credentials, v.err = a.current(a.logger).Verify(r.Context(), policy.FromRequest(r, a.tokenHeader))
		})
		c, err := v.credentials, v.err
		if err != nil {
			return relay.Grant{}, err
		}
		grant, err := a.current(a.logger).Authorize(c, role, name)
		grant.Check = func() error {
			_, err := a.current(a.logger).Authorize(c, role, name)
			return err
		}
		return grant, err
	}
}

// verified has the credentials of a request.
type verified struct {
	once        sync.Once
	credentials policy.Credentials
	err         error
}

// verifiedKey is the key of *verified in the context of a request.
type verifiedKey struct{}

// handler makes authorize verify the credentials of a request only once, because a list of
// workers authorizes each of them.
func (a *access) handler(next http.Handler) http.Handler {
	if a == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), verifiedKey{}, &verified{})))
	})
}

// watch ends the sessions of r that the policy doesn't allow any more, and keeps the keys of
// issuers up to date, until ctx ends.
func (a *access) watch(ctx context.Context, r *relay.Relay) {
	if a == nil {
		return
	}
	const interval = time.Second / 2
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for last := a.current(a.logger); ; {
		last.Refresh() //nolint:contextcheck // a load has a timeout of its own
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if p := a.current(a.logger); p != last {
			last = p
			r.Recheck()
		}
	}
}
