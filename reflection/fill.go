package reflection

import (
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Fill replaces the descriptors of what the upstreams don't tell of themselves,
// such as files that a user names. A nil set leaves none.
//
// They are those of an upstream that comes last, but for one thing: a file that
// defines nothing new is that of the upstream that defines all of it, whatever the
// path, and the files that import it are read with the upstream's definitions.
func (m *Merged) Fill(set *Set) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.replace(len(m.state.Load().sets)-1, set)
}

// fills reports whether the i-th Set is that of Fill.
func (s *snapshot) fills(i int) bool { return i == len(s.sets)-1 }

// folder is where the files of a Set are served whose own paths are taken.
func (s *snapshot) folder(i int) string {
	if s.fills(i) {
		return "files/"
	}
	return fmt.Sprintf("upstream-%d/", i+1)
}

// standIn returns the path of the upstream's file that stands in for a file of the
// i-th Set, "" for none. A file with public imports defines more than it says.
func (s *snapshot) standIn(i int, path string, fdp *descriptorpb.FileDescriptorProto) string {
	if !s.fills(i) {
		return ""
	}
	names := s.sets[i].symbols(path)
	if len(names) == 0 || len(fdp.GetPublicDependency()) > 0 {
		return ""
	}
	for j, set := range s.sets[:i] {
		if d, err := set.Files().FindDescriptorByName(names[0]); err == nil && covers(d.ParentFile(), fdp) {
			return s.servedPath(j, d.ParentFile())
		}
	}
	return ""
}

// symbols returns the full names of what a file defines at its top level.
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
