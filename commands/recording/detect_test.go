package recording

import "testing"

func TestDetect(t *testing.T) {
	t.Parallel()
	const header = `{"event":"recording","version":1}`
	for text, want := range map[string]bool{
		"":                                       false,
		header:                                   true,
		"\n " + header + "\n":                    true,
		`{"event":"rpc"}` + "\n{torn\n" + header: true,
		`{"event":"recording","version":99}`:     true,
		"---\n" + header:                         false,
		`{"event":"rpc"}`:                        false, // a trace
		`{"methods": {"a.B/C": {"reply": {}}}}`:  false, // YAML
		"{methods: {a.B/C: {reply: {}}}}":        false,
		"{methods: {a.B/C:\n  {reply: {text: '" + header + "'}}}}": false,
		"methods: {}\n": false,
	} {
		if got := Detect([]byte(text)); got != want {
			t.Errorf("Detect(%q) = %v", text, got)
		}
	}
}
