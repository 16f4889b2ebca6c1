//go:build !windows

package commands

import "os"

// obeySequences has a terminal obey escape sequences, as it does anyway, until the
// returned function is called.
func obeySequences(*os.File) (undo func()) { return func() {} }
