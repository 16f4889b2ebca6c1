//go:build !linux && !darwin

package tunnel

// setMaxUnsent does nothing: the system has no such option.
func setMaxUnsent(uintptr) {}
