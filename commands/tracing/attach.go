package tracing

// AttachOptions adjusts a live recording.
type AttachOptions struct {
	Messages       bool
	Filter, Redact []string
}
