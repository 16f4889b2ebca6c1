package reflection

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestComplete(t *testing.T) {
	t.Parallel()
	methods := []string{"a.v1.Hub/Get", "a.v1.Hub/Put", "b.v1.Hub/Get", "b.v1.Box/Open"}
	symbols := []string{
		"a.v1.Hub", "a.v1.Hub/Get", "a.v1.Key", "a.v1.Key.name", "a.v1.Key.Kind", "a.v1.Key.Kind.OLD", "b.Key",
	}
	tests := []struct {
		names []string
		typed string
		want  []string
	}{
		{methods, "", []string{"a.v1.Hub/Get", "a.v1.Hub/Put", "b.v1.Box/Open", "b.v1.Hub/Get"}},
		{methods, "a", []string{"a.v1.Hub/Get", "a.v1.Hub/Put"}},
		{methods, "Hub/", []string{"Hub/Put"}}, // Hub/Get is ambiguous
		{methods, "O", []string{"Open"}},
		{methods, "Box.", []string{"Box.Open"}},
		{methods, "a.v1.Hub.G", []string{"a.v1.Hub.Get"}},
		{methods, "/a.v1.Hub/G", []string{"/a.v1.Hub/Get"}},
		{methods, ".Box.O", []string{".Box.Open"}},
		{methods, "get", nil},
		{symbols, "", []string{"a.v1.Hub", "a.v1.Key", "b.Key"}},
		{symbols, "a.v1.K", []string{"a.v1.Key"}},
		{symbols, "a.v1.Key.", []string{"a.v1.Key.Kind", "a.v1.Key.name"}},
		{symbols, "Hub", []string{"Hub"}},
		{symbols, "Hub/", []string{"Hub/Get"}},
		{symbols, "Hub.", []string{"Hub.Get"}},
		{nil, "", nil},
	}
	for _, tt := range tests {
		var got []string
		for _, c := range Complete(tt.typed, tt.names) {
			got = append(got, c.Text)
			if !slices.Contains(tt.names, c.Name) {
				t.Errorf("Complete(%q): %q has the name %q, which is none of the given names", tt.typed, c.Text, c.Name)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("Complete(%q) = %q, want %q", tt.typed, got, tt.want)
		}
	}
}

// TestCompleteBoundsSuffixes has names with more suffixes than Complete considers.
func TestCompleteBoundsSuffixes(t *testing.T) {
	t.Parallel()
	var names []string
	for i := range 2500 {
		names = append(names, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("b%d.", i), 500), "."))
	}
	if got, want := len(Complete("b", names)), maxSuffixes/500+1; got != want {
		t.Errorf("%d completions, want %d", got, want)
	}
}
