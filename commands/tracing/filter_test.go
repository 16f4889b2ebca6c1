package tracing

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
)

func TestFilter(t *testing.T) {
	t.Parallel()
	open := func() *call { return &call{session: 2, method: "/wstun.demo.v1.Hub/CreateKey"} }
	ended := func(change func(*call)) *call {
		c := open()
		c.ended, c.code, c.duration, c.largest = true, codes.NotFound, time.Second, 100
		if change != nil {
			change(c)
		}
		return c
	}
	message := map[string]any{"name": "z9", "key": map[string]any{"n": 5.0}, "list": []any{"a", map[string]any{"b": "c"}}}
	withMessage := ended(func(c *call) { c.message = message })
	for _, tt := range []struct {
		filter []string
		call   *call
		want   verdict
	}{
		{nil, open(), shown},
		{[]string{"Hub/*"}, open(), shown},
		{[]string{"Hub"}, open(), shown},
		{[]string{"CreateKey"}, open(), shown},
		{[]string{"*Key"}, open(), shown},
		{[]string{"/wstun.demo.v1.Hub/CreateKey"}, open(), shown},
		{[]string{"wstun.demo.v1.Hub"}, open(), shown},
		{[]string{"wstun.*"}, open(), shown},
		{[]string{"*"}, open(), shown},
		{[]string{"hub/*"}, open(), shown},
		{[]string{"Hub.CreateKey"}, open(), shown},
		{[]string{"status=NotFound"}, ended(nil), shown},
		{[]string{"$.key"}, withMessage, shown},
		{[]string{"$.list"}, withMessage, shown},
		{[]string{"Key"}, open(), hidden},
		{[]string{"!Hub/*"}, open(), hidden},
		{[]string{"!*Health*"}, open(), shown},
		{[]string{"s2"}, open(), shown},
		{[]string{"s1"}, open(), hidden},
		{[]string{"!s1 Hub/*"}, open(), shown},
		{[]string{"s1", "Hub/*"}, open(), shown},
		{[]string{"s1", "s3"}, open(), hidden},
		{[]string{"status=OK"}, open(), undecided},
		{[]string{"status=OK Other/*"}, open(), hidden},
		{[]string{"status=OK", "Hub/*"}, open(), shown},
		{[]string{"status=OK"}, ended(nil), hidden},
		{[]string{"status!=OK"}, ended(nil), shown},
		{[]string{"!status=ok"}, ended(nil), shown},
		{[]string{"status=NOT_FOUND"}, ended(nil), shown},
		{[]string{"status=5"}, ended(nil), shown},
		{[]string{">500ms"}, open(), undecided},
		{[]string{">500ms"}, &call{duration: time.Second}, shown},
		{[]string{"<500ms"}, &call{duration: time.Second}, hidden},
		{[]string{">500ms"}, ended(nil), shown},
		{[]string{">5s"}, ended(nil), hidden},
		{[]string{"<5s"}, ended(nil), shown},
		{[]string{"size>1KiB"}, open(), undecided},
		{[]string{"size>99"}, &call{largest: 100}, shown},
		{[]string{"size>100"}, ended(nil), hidden},
		{[]string{"size<101"}, ended(nil), shown},
		{[]string{"$.name=z*"}, open(), undecided},
		{[]string{"$.name=z*"}, withMessage, shown},
		{[]string{"$.name=y*"}, withMessage, hidden},
		{[]string{"$.key.n=5"}, withMessage, shown},
		{[]string{"$.list=a"}, withMessage, shown},
		{[]string{"$.list.b=c"}, withMessage, shown},
		{[]string{"$.name"}, withMessage, shown},
		{[]string{"$.key=*"}, withMessage, hidden},
		{[]string{"$.other"}, withMessage, hidden},
	} {
		f, err := parseFilter(tt.filter)
		if err != nil {
			t.Errorf("parseFilter(%q): %v", tt.filter, err)
			continue
		}
		if got := f.decide(tt.call); got != tt.want {
			t.Errorf("%q decides %d, want %d", tt.filter, got, tt.want)
		}
	}
}

// A field that matched in one message counts for the whole call.
func TestFilterRemembersFields(t *testing.T) {
	t.Parallel()
	f, err := parseFilter([]string{"$.name=z* status=OK"})
	if err != nil {
		t.Fatal(err)
	}
	c := &call{message: map[string]any{"name": "z9"}}
	if got := f.decide(c); got != undecided {
		t.Errorf("before the end: %d, want undecided", got)
	}
	c.message, c.ended = nil, true
	if got := f.decide(c); got != shown {
		t.Errorf("at the end: %d, want shown", got)
	}
}

func TestFilterErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":            `--filter "": no terms`,
		"!":           `--filter "!": "!": no term`,
		"[":           `--filter "[": "[": not a pattern such as Hub/* or *Keys, nor another term`,
		"status=FINE": `--filter "status=FINE": "status=FINE": want a status such as OK, NOT_FOUND or 5`,
		"a >soon":     `--filter "a >soon": ">soon": want a duration such as >500ms`,
		"size>big":    `--filter "size>big": "size>big": want a size such as size>1MiB`,
		"latency>5ms": `--filter "latency>5ms": "latency>5ms": not a pattern such as Hub/* or *Keys, nor another term`,
		"a <-1s":      `--filter "a <-1s": "<-1s": want a duration such as >500ms`,
		"$.":          `--filter "$.": "$.": want a field and a pattern such as $.name=z*`,
		"$.a=[":       `--filter "$.a=[": "$.a=[": want a field and a pattern such as $.name=z*`,
	} {
		if _, err := parseFilter([]string{text}); err == nil || err.Error() != want {
			t.Errorf("parseFilter(%q) = %v, want %s", text, err, want)
		}
	}
}
