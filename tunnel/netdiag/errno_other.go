//go:build !windows

package netdiag

// portable returns err.
func portable(err error) error { return err }
