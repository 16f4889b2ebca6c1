package commands

import (
	"os"

	"golang.org/x/sys/windows"
)

// enableEscapeSequences makes the console of out interpret escape sequences until undo is
// called. A console that can't interpret them prints them: ok is false.
func enableEscapeSequences(out *os.File) (undo func(), ok bool) {
	console := windows.Handle(out.Fd())
	var mode uint32
	if windows.GetConsoleMode(console, &mode) != nil ||
		windows.SetConsoleMode(console, mode|windows.ENABLE_PROCESSED_OUTPUT|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) != nil {
		return func() {}, false
	}
	return func() { _ = windows.SetConsoleMode(console, mode) }, true
}
