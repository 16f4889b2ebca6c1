package outbound

import (
	"runtime"
	"testing"
)

func TestParseAddr(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, network, address string }{
		{"127.0.0.1:80", "tcp", "127.0.0.1:80"},
		{":80", "tcp", "127.0.0.1:80"},
		{"80", "tcp", "127.0.0.1:80"},
		{"[::1]:0", "tcp", "[::1]:0"},
		{"localhost:http", "tcp", "localhost:http"},
		{"unix:/run/x", "unix", "/run/x"},
		{"unix:///run/x", "unix", "/run/x"},
		{"unix:////run/x", "unix", "/run/x"},
		{"unix:x", "unix", "x"},
		{"unix:", "", ""},
		{"unix://run/x", "", ""}, // a host, to gRPC
		{"unix://", "", ""},
		{"unix-abstract:", "", ""},
		{"münchen.example:80", "tcp", "xn--mnchen-3ya.example:80"},
		{"BÜCHER。example:0", "tcp", "xn--bcher-kva.example:0"},
		{"under_score:80", "tcp", "under_score:80"},
		{"ü_:80", "", ""},
		{"[fe80::1%eth0]:80", "tcp", "[fe80::1%eth0]:80"},
		{"::1:80", "", ""},
		{"::1", "", ""},
		{"", "", ""},
		{"host:", "", ""},
		{"a:b:c", "", ""},
		{"65535", "tcp", "127.0.0.1:65535"},
		{"65536", "", ""},
		{"-1", "", ""},
		{"h:65536", "", ""},
		{"h:-1", "", ""},
		{"host", "", ""},
		{"http", "", ""}, // a port's name, but likelier a host's
		{"h:no-such-service", "", ""},
	}
	for _, tt := range tests {
		got, err := ParseAddr(tt.in)
		if got.Network != tt.network || got.Address != tt.address || (err == nil) != (tt.network != "") {
			t.Errorf("ParseAddr(%q) = %+v, %v, want %s %s", tt.in, got, err, tt.network, tt.address)
		} else if again, _ := ParseAddr(got.String()); err == nil && again != got {
			t.Errorf("ParseAddr(%q) = %+v, want %+v", got, again, got)
		}
	}
}

func TestAddrTexts(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][2]string{
		"München.example:80": {"München.example:80", "xn--mnchen-3ya.example:80"},
		":80":                {"127.0.0.1:80", "127.0.0.1:80"},
		"[fe80::1%eth0]:80":  {"[fe80::1%eth0]:80", "[fe80::1]:80"},
		"unix:///run/x":      {"unix:/run/x", "localhost"},
	} {
		a, err := ParseAddr(in)
		if err != nil || a.String() != want[0] || a.Authority() != want[1] {
			t.Errorf("ParseAddr(%q) = %v with authority %s, %v, want %v", in, a, a.Authority(), err, want)
		}
	}
}

func TestParseAddrErrors(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"::1:7091":          `"::1:7091": an IPv6 address needs brackets: want [::1]:7091`,
		"fe80::1%lo:http":   `"fe80::1%lo:http": an IPv6 address needs brackets: want [fe80::1%lo]:http`,
		"2001:db8::a":       `"2001:db8::a": an IPv6 address needs brackets: want [2001:db8::a]:PORT`,
		"http://host:80":    `"http://host:80": want host:port, :port or unix:PATH`,
		"unix://run/e.sock": `"unix://run/e.sock": want unix:PATH, or unix:///PATH with three slashes`,
		"zwei_bücher:80":    `"zwei_bücher:80": not a host name: disallowed rune U+005F`,
		"-ü.example:80":     `"-ü.example:80": not a host name: invalid label "-ü"`,
	} {
		if _, err := ParseAddr(in); err == nil || err.Error() != want {
			t.Errorf("ParseAddr(%q) = %v, want %s", in, err, want)
		}
	}
}

func TestAbstractSocket(t *testing.T) {
	t.Parallel()
	a, err := ParseAddr("unix-abstract:e2e")
	if runtime.GOOS != "linux" {
		if err == nil {
			t.Errorf("ParseAddr = %v, want an error", a)
		}
		return
	}
	if b, err := ParseAddr("unix-abstract:///run/e"); err != nil || b.Address != "@/run/e" { // as in gRPC
		t.Errorf("ParseAddr = %v, %v", b, err)
	}
	if err != nil || a.Network != "unix" || a.Address != "@e2e" || a.String() != "unix-abstract:e2e" || !a.Abstract() || a.Authority() != "localhost" {
		t.Errorf("ParseAddr = %v, %v", a, err)
	}
}
