package yamlfile

import (
	"fmt"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	f := File{Name: "f"}
	root := f.Parse([]byte("a: &a {b: 1, c: [x, ~]}\nd:\n  <<: *a\n  b: true\ne: *a\n"))
	if err := f.Err(); err != nil {
		t.Fatal(err)
	}
	d := root.Get("d")
	if value, ok := d.Get("b").Bool(); !ok || !value || d.Get("b").Line != 4 {
		t.Errorf("b = %+v", d.Get("b"))
	}
	if c := d.Get("c"); len(c.Items) != 2 || c.Items[0].Text != "x" || !c.Items[1].IsNull() || c.Line != 1 {
		t.Errorf("c = %+v", c)
	}
	if e := root.Get("e"); e.Get("b").Tag != "!!int" || root.Get("f") != nil {
		t.Errorf("e = %+v", e)
	}
	for key, want := range map[string]string{"a": "a mapping", "d": "a mapping"} {
		if got := root.Get(key).Describe(); got != want {
			t.Errorf("%s is %s, want %s", key, got, want)
		}
	}
	for _, text := range []string{"", "# nothing\n", "---\n"} {
		if root := f.Parse([]byte(text)); root != nil && !root.IsNull() || f.Mistakes() > 0 {
			t.Errorf("Parse(%q) = %+v, %v", text, root, f.Err())
		}
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a: 1\na: 2":          `f:2: duplicate key "a", first on line 1`,
		"a:\n\tb: 1":          "f:2: indent with spaces, not tabs",
		"a: 1\n---\nb: 1":     "f:2: the file has a second document",
		"a: &a [*a]":          "f:1: alias *a is inside its own anchor",
		"[a]: b":              "f:1: a key must be a string, not a list",
		"a: !x b":             `f:1: tag "!x" is not supported here`,
		"a: 1\n<<: [2]":       "f:2: << merges mappings, not \"2\"",
		"a: \"\\q\"":          "f:1: found unknown escape character",
		"? [b]\n: c\nb: !x a": "f:1: a key must be a string, not a list\nf:3: tag \"!x\" is not supported here",
	} {
		f := File{Name: "f"}
		root := f.Parse([]byte(text))
		if err := f.Err(); root != nil || err == nil || err.Error() != want {
			t.Errorf("Parse(%q) = %+v, %v, want %s", text, root, err, want)
		}
	}
}

func TestErrorf(t *testing.T) {
	t.Parallel()
	f := File{Name: "f"}
	var want []string
	for i := range 12 {
		f.Errorf(20-i, "mistake %s", Quote(strings.Repeat("x", 300)))
		if i < 10 {
			want = append([]string{fmt.Sprintf("f:%d: mistake %q", 20-i, strings.Repeat("x", 200)+"…")}, want...)
		}
	}
	if err := f.Err(); !f.Full() || f.Mistakes() != 10 || err.Error() != strings.Join(want, "\n") {
		t.Errorf("%d mistakes: %v", f.Mistakes(), err)
	}
	if got := DidYouMean("targts", []string{"targets"}); got != `; did you mean "targets"?` {
		t.Errorf("DidYouMean = %q", got)
	}
}
