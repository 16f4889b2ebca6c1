package target

import (
	"testing"

	"github.com/wstun/wstun/commands/usage"
)

func TestResolveTLS(t *testing.T) {
	t.Parallel()
	given, fromVariable := true, false
	for _, tt := range []struct {
		addr           string
		plaintext, tls bool
		given          usage.Given
		wantTLS, isErr bool
	}{
		{"h:1", false, false, nil, false, false},
		{"h:1", true, false, usage.Given{"plaintext": given}, false, false},
		{"h:1", true, true, usage.Given{"plaintext": given, "tls": fromVariable}, false, false},
		{"h:1", true, true, usage.Given{"plaintext": fromVariable, "tls": given}, true, false},
		{"h:1", true, true, usage.Given{"plaintext": given, "tls": given}, true, true},
		{"h:1", true, false, usage.Given{"plaintext": given, "tls": given}, false, false}, // --tls=false
		{"h:1", false, false, usage.Given{"plaintext": given}, true, false},               // --plaintext=false
		{"h:1", false, false, usage.Given{"plaintext": given, "tls": given}, false, true},
		{"ws://h/", true, false, usage.Given{"plaintext": given}, false, false},
		{"HTTPS://h/", true, false, usage.Given{"plaintext": given}, false, true},
		{"wss://h/", true, false, usage.Given{"plaintext": fromVariable}, false, false},
		{"wss://h/", false, false, usage.Given{"plaintext": given}, false, false},
		{"http://h/", false, false, usage.Given{"plaintext": given}, false, true},
		{"", true, false, usage.Given{"plaintext": given}, false, false}, // with --accept
	} {
		o := &Options{Addr: tt.addr, Plaintext: tt.plaintext, UseTLS: tt.tls, Given: tt.given}
		if err := o.resolveTLS(); (err != nil) != tt.isErr || o.UseTLS != tt.wantTLS {
			t.Errorf("%+v: TLS %v, %v", tt, o.UseTLS, err)
		}
	}
}
