package endpoint

import (
	"net/http"
	"testing"

	"github.com/wstun/wstun/tunnel"
	"github.com/wstun/wstun/tunnel/relay"
)

// A Worker numbers its dials, and repeats the time of the first relay.
func TestNumberDial(t *testing.T) {
	t.Parallel()
	e := &Endpoint{}
	var got []string
	for _, answer := range []string{"", "5", "7", ""} {
		opts := &tunnel.DialOptions{Header: http.Header{relay.InstanceHeader: {"i"}}}
		e.numberDial(opts)
		got = append(got, opts.Header.Get(relay.SeqHeader)+"@"+opts.Header.Get(relay.SinceHeader))
		if opts.Upgraded != nil {
			opts.Upgraded(http.Header{relay.SinceHeader: {answer}})
		}
	}
	for i, want := range []string{"1@", "2@", "3@5", "4@5"} {
		if got[i] != want {
			t.Errorf("dial %d sends %s, want %s", i, got[i], want)
		}
	}
	opts := &tunnel.DialOptions{Header: http.Header{}}
	if e.numberDial(opts); len(opts.Header) > 0 || opts.Upgraded != nil {
		t.Errorf("an engineer sends %v", opts.Header)
	}
}
