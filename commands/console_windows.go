package commands

import (
	"os"

	"golang.org/x/sys/windows"
)

// enableEscapeSequences makes the console of out interpret escape sequences until undo is
// called. A console that can't interpret them prints them.
func enableEscapeSequences(out *os.File) (undo func()) {
	console := windows.Handle(out.Fd())
	var mode uint32
	if windows.GetConsoleMode(console, &mode) != nil ||
		windows.SetConsoleMode(console, mode|windows.ENABLE_PROCESSED_OUTPUT|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) != nil {
		return func() {}
	}
	return func() { _ = windows.SetConsoleMode(console, mode) }
}
