//go:build !linux && !darwin

package tunnel

// setMaxUnsent does nothing: the system has no such bound.
func setMaxUnsent(uintptr) {}
