package replay

import (
	"math"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/wstun/wstun/commands/demo"
)

// The hint is the shortest list, and its flags work.
func TestHint(t *testing.T) {
	t.Parallel()
	tests := []struct{ a, b, want string }{
		{`text: "a"`, `text: "a"`, ``},
		{`create_time {}`, `create_time { seconds: 1 }`, `--ignore create_time`},
		{`create_time {} times {}`, `create_time { seconds: 1 }`, `--ignore google.protobuf.Timestamp`},
		{`child { text: "a" }`, `child { number: 1 }`, `--ignore child.number --ignore child.text`},
		{`children { text: "a" } children {}`, `children {}`, `--ignore children`},
		{`any { [t/test.M] { text: "a" } }`, `any { type_url: "x" }`, `--ignore any.@type`},
		{`by_name { key: "a'b" value { number: 1 } }`, `by_name { key: "a'b" }`, `--ignore by_name.number`},
		{`fields {}`, ``, `--ignore fields`},
	}
	for _, tt := range tests {
		s, o := ended("/test.S/Get", [][]byte{parse(t, tt.a)}, [][]byte{parse(t, tt.b)})
		var h hint
		found, _ := newComparer(t, nil, nil).compare(t.Context(), s, o)
		h.add(&Result{Differences: found})
		if got := Flags(h.values()); got != tt.want {
			t.Errorf("%s and %s: %s, want %s", tt.a, tt.b, got, tt.want)
		}
		if found, _ := newComparer(t, h.values(), nil).compare(t.Context(), s, o); len(found) > 0 {
			t.Errorf("%s and %s: %s with the flags of the hint", tt.a, tt.b, describeAll(found))
		}
	}
}

// Arbitrary bytes can be compared. A message equals itself, and the hint ignores all
// differences of two.
func FuzzCompare(f *testing.F) {
	f.Add([]byte(nil), []byte(nil))
	f.Add([]byte("\x0a\x01\xff\x62\x00\x10"), marshal(&demo.Key{Name: "a"}))
	f.Add(parse(f, `any { [t/test.M] { text: "a" real: nan } } list: [1, 2]`), parse(f, `children { any { [t/test.M] {} } } list: [2, 1]`))
	f.Add(protowire.AppendFixed64([]byte{0x21}, math.Float64bits(math.NaN())), parse(f, `create_time { seconds: -1 nanos: -1 } fields {} times {}`))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		for _, method := range []string{"/test.S/Get", "/test.S/None"} {
			for _, unordered := range [][]string{nil, {"*", "responses"}} {
				compare := func(ignore []string, a, b []byte) ([]*Difference, bool) {
					s, o := ended(method, [][]byte{a, b}, [][]byte{b, a})
					if a == nil {
						s, o = ended(method, [][]byte{b}, [][]byte{slices.Clone(b)})
					}
					return newComparer(t, ignore, unordered).compare(t.Context(), s, o)
				}
				if found, _ := compare(nil, nil, a); len(found) > 0 {
					t.Errorf("%x differs from itself: %s", a, describeAll(found))
				}
				if a == nil {
					continue
				}
				found, complete := compare(nil, a, b)
				var h hint
				h.add(&Result{Differences: found, More: !complete})
				if found, _ := compare(h.values(), a, b); complete && len(found) > 0 {
					t.Errorf("%x and %x: %s with %s", a, b, describeAll(found), Flags(h.values()))
				}
			}
		}
	})
}
