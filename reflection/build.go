package reflection

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// maxProblems bounds the problems that a Set lists.
const maxProblems = 100

// builder builds a Set from files.
type builder struct {
	files    map[string]*descriptorpb.FileDescriptorProto // by path
	aliases  map[string]string                            // imported path → path of the file
	state    map[string]state
	public   map[string]int // path → cost of importing it; see publicCost
	budget   budget
	set      *Set
	problems int // all of them, also those that the Set doesn't list
}

// state is the progress of linking a file. Zero means not started.
type state int

const (
	linking state = iota + 1
	done
	failed
)

func newBuilder() *builder {
	return &builder{
		files:   make(map[string]*descriptorpb.FileDescriptorProto),
		aliases: make(map[string]string),
		state:   make(map[string]state),
		public:  make(map[string]int),
		budget:  newBudget(),
		set:     newSet(),
	}
}

func (b *builder) problem(format string, args ...any) {
	b.problems++
	switch {
	case b.problems <= maxProblems:
		b.set.problems = append(b.set.problems, truncate(fmt.Sprintf(format, args...)))
	case b.problems == maxProblems+1:
		b.set.problems = append(b.set.problems, "further problems are omitted")
	}
}

// add adds a file. It reports whether the file is new and within the limits.
func (b *builder) add(fdp *descriptorpb.FileDescriptorProto) bool {
	path := fdp.GetName()
	if path == "" {
		b.problem("a file without a name")
		return false
	}
	if prev := b.files[path]; prev != nil {
		if fd := builtin(path); !sameFile(prev, fdp) && (fd == nil || !covers(fd, fdp)) {
			b.problem("%q appears twice with different contents", path)
		}
		return false
	}
	if err := b.budget.charge(fdp); err != nil {
		b.problem("%q is left out: %v", path, err)
		return false
	}
	b.files[path] = fdp
	return true
}

// build links the files. If services is nil, the Set has all services of the files.
func (b *builder) build(ctx context.Context, services []string) (*Set, error) {
	paths := make([]string, 0, len(b.files))
	for path := range b.files {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	maps.DeleteFunc(b.aliases, func(path, _ string) bool { return b.files[path] != nil })
	for _, path := range paths {
		b.visit(ctx, path)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("reflection: link: %w", err)
	}
	b.set.services = serviceNames(services)
	if services == nil {
		b.set.services = b.set.definedServices()
	}
	return b.set, nil
}

// visit links a file after its imports and returns the resulting state.
func (b *builder) visit(ctx context.Context, path string) state {
	if s := b.state[path]; s != 0 {
		return s
	}
	fdp := b.files[path]
	if fdp == nil {
		if fdp = builtinProto(path); fdp == nil {
			return 0
		}
		b.files[path] = fdp
	}
	b.state[path] = linking
	b.state[path] = b.link(ctx, path, fdp)
	return b.state[path]
}

func (b *builder) link(ctx context.Context, path string, fdp *descriptorpb.FileDescriptorProto) state {
	if ctx.Err() != nil {
		return failed
	}
	if len(b.aliases) > 0 {
		fdp = rename(fdp, path, b.aliases)
	}
	var missing []string
	for _, dep := range fdp.GetDependency() {
		switch b.visit(ctx, dep) {
		case done:
		case linking:
			b.problem("%q and %q import each other", path, dep)
			fdp = withoutImports(fdp, dep)
		default:
			b.problem("%q imports %q, which is missing", path, dep)
			missing = append(missing, dep)
		}
	}
	for _, dep := range fdp.GetOptionDependency() {
		b.visit(ctx, dep) // may be missing
	}
	if err := b.budget.publicImports(b.publicCost(fdp)); err != nil {
		b.problem("%q is left out: %v", path, err)
		return failed
	}
	fdp, fd, err := b.newFile(fdp, missing)
	if err == nil {
		err = b.set.registry.RegisterFile(fd)
	}
	if err != nil {
		b.problem("%q is left out: %v", path, err)
		return failed
	}
	b.set.order = append(b.set.order, fdp)
	b.set.addExtensions(fd)
	return done
}

// newFile builds a descriptor. It drops missing imports that the file doesn't need, as
// is common for files that only define options. If the file needs them, the unresolved
// types become placeholders.
func (b *builder) newFile(
	fdp *descriptorpb.FileDescriptorProto, missing []string,
) (_ *descriptorpb.FileDescriptorProto, fd protoreflect.FileDescriptor, err error) {
	defer func() {
		if r := recover(); r != nil { // protodesc may panic on a malicious file
			err = fmt.Errorf("%v", r)
		}
	}()
	needed := fdp
	if len(missing) > 0 {
		needed = withoutImports(fdp, missing...)
	}
	fd, err = protodesc.NewFile(needed, b.set.registry)
	if err == nil {
		return needed, fd, nil
	}
	if fd, looseErr := (protodesc.FileOptions{AllowUnresolvable: true}).New(fdp, b.set.registry); looseErr == nil {
		if len(missing) == 0 {
			b.problem("%q refers to symbols that it doesn't import: %v", fdp.GetName(), err)
		}
		return fdp, fd, nil
	}
	return nil, nil, err
}

// publicCost returns the number of steps that protodesc needs to follow the public
// imports of fdp's imports, and records the cost of importing fdp. Without a bound,
// forty files that import each other in pairs would keep protodesc busy for days.
func (b *builder) publicCost(fdp *descriptorpb.FileDescriptorProto) int {
	cost, own := 1, 0
	for _, dep := range fdp.GetDependency() {
		cost = min(cost+1+b.public[dep], maxPublicImports+1)
	}
	for _, i := range fdp.GetPublicDependency() {
		if int(i) < len(fdp.GetDependency()) && i >= 0 {
			own = min(own+1+b.public[fdp.GetDependency()[i]], maxPublicImports+1)
		}
	}
	b.public[fdp.GetName()] = own
	return cost
}

// rename returns a copy of fdp with another path and other imports.
func rename(fdp *descriptorpb.FileDescriptorProto, path string, imports map[string]string) *descriptorpb.FileDescriptorProto {
	fdp = shallowCopy(fdp)
	fdp.Name = new(path)
	fdp.Dependency = slices.Clone(fdp.GetDependency())
	fdp.OptionDependency = slices.Clone(fdp.GetOptionDependency())
	for _, list := range [][]string{fdp.Dependency, fdp.OptionDependency} {
		for i, dep := range list {
			if to, ok := imports[dep]; ok {
				list[i] = to
			}
		}
	}
	return fdp
}

// withoutImports returns a copy of fdp that doesn't import paths.
func withoutImports(fdp *descriptorpb.FileDescriptorProto, paths ...string) *descriptorpb.FileDescriptorProto {
	fdp = shallowCopy(fdp)
	moved := make([]int32, len(fdp.GetDependency())) // old index → new
	var kept []string
	for i, dep := range fdp.GetDependency() {
		if moved[i] = -1; !slices.Contains(paths, dep) {
			moved[i] = int32(len(kept)) //nolint:gosec // bounded by the size of a message
			kept = append(kept, dep)
		}
	}
	remap := func(list []int32) (out []int32) {
		for _, i := range list {
			if i >= 0 && int(i) < len(moved) && moved[i] >= 0 {
				out = append(out, moved[i])
			}
		}
		return out
	}
	fdp.Dependency = kept
	fdp.PublicDependency = remap(fdp.GetPublicDependency())
	fdp.WeakDependency = remap(fdp.GetWeakDependency())
	return fdp
}

// shallowCopy returns a copy that shares nested messages and lists with fdp.
func shallowCopy(fdp *descriptorpb.FileDescriptorProto) *descriptorpb.FileDescriptorProto {
	c := new(descriptorpb.FileDescriptorProto)
	m := c.ProtoReflect()
	fdp.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		m.Set(f, v)
		return true
	})
	m.SetUnknown(fdp.ProtoReflect().GetUnknown())
	return c
}
