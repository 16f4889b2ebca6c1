package outbound

import "testing"

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
		if want := (Addr{tt.network, tt.address}); got != want || (err == nil) != (tt.network != "") {
			t.Errorf("ParseAddr(%q) = %+v, %v, want %+v", tt.in, got, err, want)
		} else if again, _ := ParseAddr(got.String()); err == nil && again != got {
			t.Errorf("ParseAddr(%q) = %+v, want %+v", got, again, got)
		}
	}
}
