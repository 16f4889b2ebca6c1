package netdiag

// Failure is the last failure of an operation that is retried, so that each reason is
// logged once. The zero value is none. It isn't safe for concurrent use.
type Failure struct{ reason string }

// IsNew records err, and reports whether its text differs from that of the previous
// failure, or there was none.
func (f *Failure) IsNew(err error) bool {
	previous := f.reason
	f.reason = err.Error()
	return f.reason != previous
}

// Clear records that the operation has succeeded.
func (f *Failure) Clear() { f.reason = "" }
