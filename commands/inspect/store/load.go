package store

import (
	"errors"
	"io"

	"github.com/wstun/wstun/commands/recording"
	"github.com/wstun/wstun/tunnel/trace"
)

// Load adds the calls of a recording, or of several ones after each other, which are from
// origin. schema receives
// its descriptors, see recording.Line; isSecret chooses the metadata whose values are
// replaced. The error is recording.ErrNotRecording, or that of recording.Reader.Next.
func (s *Store) Load(r io.Reader, origin Origin, schema func(files []byte), isSecret func(name string) bool) error {
	defer s.Release(origin)
	lines := recording.NewReader(r)
	for {
		l, err := lines.Next()
		switch {
		case errors.Is(err, io.EOF) && lines.Version == 0:
			return recording.ErrNotRecording
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case l.Event == recording.HeaderLine && !l.Continued:
			s.Release(origin) // another process, with its own numbers
			continue
		case l.Event == recording.SchemaLine:
			schema(l.Files)
			continue
		}
		e := l.ToEvent()
		if e == nil {
			continue
		}
		for i := range e.Metadata {
			f := &e.Metadata[i]
			if f.Name != recording.DetailsKey && (f.Sensitive || isSecret(f.Name)) {
				f.Value = trace.Redacted
			}
		}
		s.Add(e, origin, l.Redacted)
	}
}
