package target

import (
	"errors"
	"fmt"
	"strings"

	"github.com/wstun/wstun/commands/endpoint"
	"github.com/wstun/wstun/commands/usage"
)

// resolveTLS refuses a --plaintext on the command line that contradicts --tls or the URL,
// and lets it override WSTUN_TLS. --plaintext=false is --tls.
func (o *Options) resolveTLS() error {
	if !o.Given["plaintext"] || o.Addr == "" {
		return nil
	}
	if o.Given["tls"] && o.UseTLS == o.Plaintext {
		return &usage.Error{Err: errors.New("--plaintext and --tls contradict each other"), Advice: "leave one of them out"}
	}
	if !IsURL(o.Addr) {
		o.UseTLS = !o.Plaintext
		return nil
	}
	scheme, _, _ := strings.Cut(strings.ToLower(o.Addr), "://")
	switch hasTLS := scheme == "wss" || scheme == "https"; {
	case hasTLS && o.Plaintext:
		return &usage.Error{Err: fmt.Errorf("--plaintext with a URL that has TLS: %s", endpoint.Redact(o.Addr)), Advice: "leave out --plaintext, or use " + strings.TrimSuffix(scheme, "s") + ":// instead of " + scheme + "://"}
	case !hasTLS && !o.Plaintext:
		return &usage.Error{Err: fmt.Errorf("--plaintext=false with a URL that has no TLS: %s", endpoint.Redact(o.Addr)), Advice: "leave it out, or use " + scheme + "s:// instead of " + scheme + "://"}
	}
	return nil
}
