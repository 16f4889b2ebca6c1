package natsdir

import (
	"testing"
	"time"

	"github.com/wstun/wstun/tunnel/relay"
)

// Messages of other programs give only valid claims and URLs.
func FuzzMessages(f *testing.F) {
	for _, text := range []string{
		`{"claim":{"instance":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","seq":1,"relay":"r1","at":5}}`, `{"url":"http://h:1/x","relay":"r1"}`,
		`{}`, `{"url":"http://u@h"}`, `{"claim":{"instance":"x"}}`, "", "\x00",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, ok := parseClaim(data); ok && (len(c.Relay) > maxID || c.Instance != "" && relay.CheckInstance(c.Instance) != nil) {
			t.Errorf("an invalid claim: %+v", c)
		}
		if url := parseURL(data); url != "" && relay.CheckURL(url) != nil {
			t.Errorf("an invalid URL: %q", url)
		}
		ps := newPeers()
		ps.receive(data)
		for _, p := range ps.list(time.Time{}) {
			if relay.CheckURL(p.URL) != nil || relay.CheckName(p.ID) != nil {
				t.Errorf("an invalid relay: %+v", p)
			}
		}
	})
}
