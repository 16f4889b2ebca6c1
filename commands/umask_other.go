//go:build !unix

package commands

// restrictNewFiles does nothing here: a socket has the rights of its folder.
func restrictNewFiles() (restore func()) { return func() {} }
