package reflection

import (
	"context"
	"errors"
	"slices"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/wstun/wstun/reflection/types"
)

// Catalog finds symbols in several sources, such as a server and local files. The
// first source that has a symbol wins. A Catalog asks a source only when it needs to,
// for as little as it can, and caches the answers until Refresh.
//
// Each source is a namespace of its own: a symbol refers to symbols of its own source,
// even if another source defines the same names differently. A Catalog skips a source
// that fails as long as another one has the symbol.
//
// All methods may be called concurrently.
type Catalog struct {
	sources []Finder

	mu    sync.Mutex // guards:
	known []known    // for each source
}

// known is the cache of a source's answers.
type known struct {
	all   *Set   // of Files; nil: not asked yet
	parts []*Set // of Find
}

// maxParts bounds the cached parts of one source: a peer may make up any number of
// symbols.
const maxParts = 1000

// NewCatalog returns a Catalog of sources, in order of precedence.
func NewCatalog(sources ...Finder) *Catalog {
	return &Catalog{sources: sources, known: make([]known, len(sources))}
}

// Symbol is a descriptor, with the types to read and write its messages.
type Symbol struct {
	protoreflect.Descriptor

	catalog *Catalog
	set     *Set
}

// Types finds messages and extensions in the symbol's own source, then messages, such
// as those in a google.protobuf.Any, in all sources, which it may ask until ctx ends,
// then the types that are linked into the program.
func (s *Symbol) Types(ctx context.Context) TypeResolver {
	return slices.Concat(s.set.types, types.Resolvers{&asked{
		find:  func(name protoreflect.FullName) (*Symbol, error) { return s.catalog.Find(ctx, name) },
		found: make(map[protoreflect.FullName]protoreflect.MessageType),
	}})
}

// Services returns the full names of the services of all sources, in alphabetical
// order, each once. The error is that of the first source if all have failed.
func (c *Catalog) Services(ctx context.Context) ([]string, error) {
	var all []string
	var failed error
	answered := false
	for _, source := range c.sources {
		names, err := source.Services(ctx)
		switch {
		case err == nil:
			answered = true
		case failed == nil:
			failed = err
		}
		all = append(all, names...)
	}
	if !answered {
		return nil, failed
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// Find returns the symbol of that full name. The error is [ErrNotFound] if no
// source has it, or that of the first source that could not tell.
func (c *Catalog) Find(ctx context.Context, name protoreflect.FullName) (*Symbol, error) {
	if !name.IsValid() {
		return nil, ErrNotFound
	}
	var failed error
	for i, source := range c.sources {
		if s := c.lookUp(i, name); s != nil {
			return s, nil
		}
		set, err := source.Find(ctx, name)
		if err == nil {
			c.remember(i, set)
			if s := c.symbol(set, name); s != nil {
				return s, nil
			}
		}
		if err != nil && !errors.Is(err, ErrNotFound) && failed == nil {
			failed = err
		}
	}
	if failed != nil {
		return nil, failed
	}
	return nil, ErrNotFound
}

// Refresh empties the cache.
func (c *Catalog) Refresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.known)
}

// symbol returns a symbol of set, nil if set doesn't have it.
func (c *Catalog) symbol(set *Set, name protoreflect.FullName) *Symbol {
	d, err := set.Files().FindDescriptorByName(name)
	if err != nil {
		return nil
	}
	return &Symbol{d, c, set}
}

// lookUp returns a symbol of source i from the cache, or nil.
func (c *Catalog) lookUp(i int, name protoreflect.FullName) *Symbol {
	c.mu.Lock()
	all, parts := c.known[i].all, slices.Clone(c.known[i].parts)
	c.mu.Unlock()
	for _, set := range append([]*Set{all}, parts...) {
		if s := c.symbol(set, name); s != nil {
			return s
		}
	}
	return nil
}

func (c *Catalog) remember(i int, set *Set) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := &c.known[i]
	if len(k.parts) < maxParts && !slices.Contains(k.parts, set) {
		k.parts = append(k.parts, set)
	}
}

// everything returns the whole Sets of the sources that answer, and the error of
// the first that doesn't.
func (c *Catalog) everything(ctx context.Context) ([]*Set, error) {
	var sets []*Set
	var failed error
	for i, source := range c.sources {
		c.mu.Lock()
		set := c.known[i].all
		c.mu.Unlock()
		if set == nil {
			var err error
			if set, err = source.Files(ctx); err != nil {
				if failed == nil {
					failed = err
				}
				continue
			}
			c.mu.Lock()
			c.known[i].all = set
			c.mu.Unlock()
		}
		sets = append(sets, set)
	}
	return sets, failed
}
