package outbound

import "testing"

func TestRedactURL(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"wss://user:pass@host:1/a%20b?token=x": "wss://host:1/a%20b",
		"ws://[::1]:7070":                      "ws://[::1]:7070",
	} {
		u, err := ParseURL(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := RedactURL(u); got != want {
			t.Errorf("RedactURL(%s) = %s, want %s", in, got, want)
		}
	}
}
