//go:build !windows

package commands

import "os"

// enableEscapeSequences does nothing, because terminals always interpret escape sequences.
// undo does nothing, either.
func enableEscapeSequences(*os.File) (undo func(), ok bool) { return func() {}, true }
