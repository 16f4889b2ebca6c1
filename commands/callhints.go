package commands

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/wstun/wstun/commands/target"
	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/reflection"
)

// inHandshake reports whether the values of --header go into the handshake of a session.
func inHandshake(o *target.Options) bool {
	return len(o.Endpoint.Header) > 0 && (o.Addr == "" || target.IsURL(o.Addr))
}

// headerHint returns a function for the statuses of failed calls. It prints one hint if the
// server may have refused a call because credentials were sent in the handshake only.
func (p *program) headerHint(o *target.Options) func(*status.Status) {
	var once sync.Once
	return func(s *status.Status) {
		if (s.Code() == codes.Unauthenticated || s.Code() == codes.PermissionDenied) && inHandshake(o) {
			once.Do(func() {
				fmt.Fprintln(p.stderr, "wstun: hint: --header was sent in the handshake, not with the call: to send it as metadata, use --rpc-header")
			})
		}
	}
}

// explainName returns err, that there is no such method, or a better one if the name is a
// service's.
func (r *calling) explainName(ctx context.Context, err error) error {
	if _, ok := errors.AsType[*reflection.NameError](err); !ok {
		return err
	}
	s, serr := r.target.Catalog.Resolve(ctx, reflection.Service, r.o.method)
	if serr != nil {
		return err
	}
	name := reflection.Name(s.Descriptor)
	return &usage.Error{
		Err:    fmt.Errorf("%s is a service: no METHOD of it", name),
		Advice: "to see its methods: " + r.p.otherCommand("list", name),
	}
}
