package netdiag

import (
	"errors"
	"testing"
)

func TestFailure(t *testing.T) {
	t.Parallel()
	var f Failure
	for i, test := range []struct {
		reason string // empty: success
		isNew  bool
	}{
		{"", false},
		{"a", true},
		{"a", false},
		{"b", true},
		{"a", true},
		{"", false},
		{"a", true},
	} {
		if test.reason == "" {
			f.Clear()
		} else if got := f.IsNew(errors.New(test.reason)); got != test.isNew {
			t.Errorf("%d: IsNew(%s) = %v, want %v", i, test.reason, got, test.isNew)
		}
	}
}
