package reflection

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/wstun/wstun/reflection/types"
)

// Limits for the files of one upstream, in addition to maxMemory. Real servers need less
// than a tenth of most of them.
const (
	maxBytes       = 64 * 1024 * 1024 // of files
	maxFileBytes   = 8 * 1024 * 1024  // of one file
	maxFiles       = 20_000
	maxName        = types.MaxName // bytes of a full name or a path
	maxNesting     = 64            // of messages; protoc allows 32
	maxImportSteps = 100_000_000   // to follow imports of imports, about 5 ns each
	maxWork        = 3_000_000_000 // about a nanosecond each
)

// budget is the part of the limits that a peer's files haven't used yet.
type budget struct {
	work, imports int

	enums    map[string]int // message with many enums → their number
	maxEnums int            // the largest number of enums of a message
}

func newBudget(work int) budget {
	return budget{work: work, imports: maxImportSteps, enums: make(map[string]int)}
}

var (
	errWork     = fmt.Errorf("the descriptors of this server take more than %d steps to process", maxWork)
	errLongName = fmt.Errorf("a name is longer than %d bytes", maxName)
	errImports  = errors.New("too many imports of imports, or public imports of public imports")
)

// spend subtracts steps of work. Call it before the work.
func (b *budget) spend(steps int) error {
	if steps > b.work {
		return errWork
	}
	b.work -= steps
	return nil
}

// spendImports subtracts the steps to follow imports.
func (b *budget) spendImports(steps int) error {
	if steps > b.imports {
		return errImports
	}
	b.imports -= steps
	return nil
}

// survey is the result of a walk through a file.
type survey struct {
	b       *budget
	names   int // bytes of full names, which grow with nesting
	work    int // steps to register the names and resolve the references
	longest int // the length of the longest name or path
}

// surveyFile returns the memory for the full names of a file and the steps to resolve its
// references, among the messages of all files surveyed so far.
func (b *budget) surveyFile(fdp *descriptorpb.FileDescriptorProto) (names, work int, err error) {
	s := survey{b: b}
	scope := ""
	if pkg := fdp.GetPackage(); pkg != "" {
		scope = "." + pkg
		s.reference("", scope)
	}
	for _, paths := range [][]string{{fdp.GetName()}, fdp.GetDependency(), fdp.GetOptionDependency()} {
		for _, path := range paths {
			s.longest = max(s.longest, len(path))
			s.work += 1000
		}
	}
	s.fields(scope, fdp.GetExtension())
	s.enums(scope, fdp.GetEnumType())
	for _, service := range fdp.GetService() {
		name := s.scope(scope, service.GetName())
		for _, m := range service.GetMethod() {
			s.name(name, m.GetName())
			s.reference(name, m.GetInputType())
			s.reference(name, m.GetOutputType())
		}
	}
	if err := s.messages(scope, fdp.GetMessageType(), 1); err != nil {
		return 0, 0, err
	}
	if s.longest > maxName {
		return 0, 0, errLongName
	}
	return s.names, s.work, nil
}

// name adds one declaration. Full names begin with a dot here, as in references.
func (s *survey) name(scope, name string) {
	length := len(scope) + 1 + len(name)
	s.names += length
	s.longest = max(s.longest, length)
}

// scope adds one declaration and returns its full name.
func (s *survey) scope(scope, name string) string {
	s.name(scope, name)
	if s.longest > maxName {
		return "" // the file is refused
	}
	return scope + "." + name
}

// reference adds the lookup of a name. protodesc tries a relative name in each enclosing
// scope, the registry tries each prefix of a name, and then each enum of a message.
func (s *survey) reference(scope, name string) {
	s.longest = max(s.longest, len(name))
	if name == "" || len(name) > maxName {
		return
	}
	scopes, length, enums := 1, len(name), s.b.maxEnums
	if name[0] == '.' {
		enums = s.b.enums[name[:strings.LastIndexByte(name, '.')]]
	} else {
		scopes += strings.Count(scope, ".") + 1
		length += len(scope)
	}
	prefixes := scopes + strings.Count(name, ".")
	s.work += scopes * (prefixes*(40+length/8) + enums*50)
}

func (s *survey) messages(scope string, list []*descriptorpb.DescriptorProto, depth int) error {
	if len(list) > 0 && depth > maxNesting {
		return errNesting
	}
	for _, m := range list {
		name := s.scope(scope, m.GetName())
		s.fields(name, m.GetField())
		s.fields(name, m.GetExtension())
		s.enums(name, m.GetEnumType())
		if n := len(m.GetEnumType()); n > 8 {
			s.b.enums[name] = n
			s.b.maxEnums = max(s.b.maxEnums, n)
		}
		for _, o := range m.GetOneofDecl() {
			s.name(name, o.GetName())
		}
		if err := s.messages(name, m.GetNestedType(), depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (s *survey) fields(scope string, list []*descriptorpb.FieldDescriptorProto) {
	for _, f := range list {
		s.name(scope, f.GetName())
		s.reference(scope, f.GetTypeName())
		s.reference(scope, f.GetExtendee())
	}
}

func (s *survey) enums(scope string, list []*descriptorpb.EnumDescriptorProto) {
	for _, e := range list {
		s.name(scope, e.GetName())
		for _, v := range e.GetValue() {
			s.name(scope, v.GetName())
		}
	}
}
