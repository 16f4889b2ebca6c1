package replay

import (
	"testing"

	"github.com/wstun/wstun/commands/demo"
)

// The number of calls that are open at a time is limited.
func TestMaxOpen(t *testing.T) {
	t.Parallel()
	tp := newTape(t)
	for range 3 {
		tp.call("Echo").send(&demo.EchoRequest{Text: "x"})
	}
	done := tp.call("Sum")
	out := tp.replay(serveHub(t), nil, func(o *Options) { o.maxOpen = 2 })
	if s := out.summary; s.Same != 2 || s.Failed != 2 || s.NotMade != 0 {
		t.Errorf("%+v\n%s", s, out.text)
	}
	if r := out.results[done.number]; r.Verdict != Failed || r.Reason != "2 other calls are open" {
		t.Errorf("%+v", r)
	}
}
