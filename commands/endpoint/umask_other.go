//go:build !unix

package endpoint

// restrictNewFiles does nothing here: a socket has the rights of its folder.
func restrictNewFiles() (restore func()) { return func() {} }
