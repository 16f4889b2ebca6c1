package tracing

import (
	"io"
	"testing"

	"github.com/wstun/wstun/commands/usage"
	"github.com/wstun/wstun/tunnel/escape"
)

// The flags need each other, and their values are checked.
func TestFlags(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]*Options{
		"--filter without --trace, --trace-messages or --record": {Filter: []string{"*"}, Given: usage.Given{"filter": true}},
		"--redact without --trace, --trace-messages or --record": {Redact: []string{"*"}, Given: usage.Given{"redact": true}},
		`--redact "[": not a pattern such as secret or *key*`:    {Trace: true, Redact: []string{"["}},
		`--filter ">x": ">x": want a duration such as >500ms`:    {Trace: true, Filter: []string{">x"}},
	} {
		if _, err := o.Start(t.Context(), &Output{Writer: io.Discard}); err == nil || err.Error() != want {
			t.Errorf("%+v: %v, want %s", o, err, want)
		}
	}
	off, err := (&Options{}).Start(t.Context(), &Output{})
	if off != nil || err != nil {
		t.Errorf("without flags: %v, %v, want nil", off, err)
	}
	off.Forget()
	off.Close()
	if off.Observe() != nil || off.Tracer() != nil {
		t.Error("a nil Tracing observes")
	}
}

// --redact applies to metadata in any case.
func TestRedactMetadata(t *testing.T) {
	t.Parallel()
	_, opts := (&Options{Trace: true, Redact: []string{"X-Foo*"}}).newFollower(&Output{Token: "Sync-Header", Secrets: &escape.Secrets{}}, nil)
	for name, want := range map[string]bool{"x-foo": true, "x-foo-bar": true, "sync-header": true, "authorization": true, "grpcgateway-authorization": true, "x-bar": false} {
		if got := opts.IsSecret(name); got != want {
			t.Errorf("IsSecret(%q) = %v, want %v", name, got, want)
		}
	}
}
