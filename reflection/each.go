package reflection

import "google.golang.org/protobuf/reflect/protoreflect"

// each calls f for each symbol of that kind in the files of s.
func (s *Set) each(kind Kind, f func(protoreflect.Descriptor)) {
	s.Files().RangeFiles(func(fd protoreflect.FileDescriptor) bool {
		for i := range fd.Services().Len() {
			sd := fd.Services().Get(i)
			if kind != Method {
				f(sd)
			}
			for k := 0; k < sd.Methods().Len() && kind != Service; k++ {
				f(sd.Methods().Get(k))
			}
		}
		if kind == Any {
			eachIn(fd, f)
		}
		return true
	})
}

// eachIn calls f for each declaration in s except map entries.
func eachIn(s scope, f func(protoreflect.Descriptor)) {
	for i := range s.Enums().Len() {
		ed := s.Enums().Get(i)
		f(ed)
		for k := range ed.Values().Len() {
			f(ed.Values().Get(k))
		}
	}
	for i := range s.Extensions().Len() {
		f(s.Extensions().Get(i))
	}
	for i := range s.Messages().Len() {
		md := s.Messages().Get(i)
		if md.IsMapEntry() {
			continue
		}
		f(md)
		for k := range md.Fields().Len() {
			f(md.Fields().Get(k))
		}
		for k := range md.Oneofs().Len() {
			f(md.Oneofs().Get(k))
		}
		eachIn(md, f)
	}
}
