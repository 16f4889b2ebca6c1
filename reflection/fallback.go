package reflection

import (
	"fmt"
	"log/slog"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// SetFallback replaces the descriptors for everything that the upstreams don't report,
// such as files given by the user. A nil set removes them.
//
// The fallback acts as a last upstream, with one exception: if an upstream's file
// defines all symbols of a fallback file, it replaces that file even if the paths
// differ, and fallback files that import the latter use the upstream's definitions.
func (m *Merged) SetFallback(set *Set) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.warnProblems(set, slog.Bool("local", true))
	m.replace(len(m.state.Load().sets)-1, set)
}

// isFallback reports whether the i-th Set is that of SetFallback.
func (s *snapshot) isFallback(i int) bool { return i == len(s.sets)-1 }

// prefix is prepended to the path of a file of the i-th Set if that path is taken.
func (s *snapshot) prefix(i int) string {
	if s.isFallback(i) {
		return "files/"
	}
	return fmt.Sprintf("upstream-%d/", i+1)
}

// replacement returns the served path of the upstream's file that replaces a file of the
// i-th Set, "" if none does. A file with public imports is never replaced, because its
// importers need more than its own symbols.
func (s *snapshot) replacement(i int, fd protoreflect.FileDescriptor) string {
	if !s.isFallback(i) {
		return ""
	}
	names := s.sets[i].symbols(fd.Path())
	if len(names) == 0 {
		return ""
	}
	for k := range fd.Imports().Len() {
		if fd.Imports().Get(k).IsPublic {
			return ""
		}
	}
	for j, set := range s.sets[:i] {
		if d, err := set.Files().FindDescriptorByName(names[0]); err == nil && covers(d.ParentFile(), fd) {
			return s.servedPath(j, d.ParentFile())
		}
	}
	return ""
}

// symbols returns the full names of the top-level symbols of a file.
func (s *Set) symbols(path string) []protoreflect.FullName {
	fd, err := s.registry.FindFileByPath(path)
	if err != nil {
		return nil
	}
	var names []protoreflect.FullName
	for i := range fd.Services().Len() {
		names = append(names, fd.Services().Get(i).FullName())
	}
	for i := range fd.Messages().Len() {
		names = append(names, fd.Messages().Get(i).FullName())
	}
	for i := range fd.Enums().Len() {
		names = append(names, fd.Enums().Get(i).FullName())
	}
	for i := range fd.Extensions().Len() {
		names = append(names, fd.Extensions().Get(i).FullName())
	}
	return names
}
