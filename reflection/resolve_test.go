package reflection

import (
	"errors"
	"slices"
	"testing"
)

func storeSet(t *testing.T) *Set {
	t.Helper()
	return compile(t, map[string]string{"store.proto": `
		syntax = "proto3";
		package shop.v1;
		service Store { rpc Put(Item) returns (Item); rpc Get(Item) returns (Item); }
		service Depot { rpc Put(Item) returns (Item); }
		message Item { string name = 1; Color color = 2; map<string, Item> items = 3; message Part { string name = 1; } }
		enum Color { RED = 0; }
	`})
}

func TestResolve(t *testing.T) {
	t.Parallel()
	c := NewCatalog(FromSet(storeSet(t)))
	for _, tt := range []struct {
		kind       Kind
		name, want string
	}{
		{Method, "shop.v1.Store/Put", "shop.v1.Store/Put"},
		{Method, "shop.v1.Store.Put", "shop.v1.Store/Put"},
		{Method, "/shop.v1.Store/Put", "shop.v1.Store/Put"},
		{Method, ".shop.v1.Store.Put", "shop.v1.Store/Put"},
		{Method, "Store/Put", "shop.v1.Store/Put"},
		{Method, "v1.Store.Put", "shop.v1.Store/Put"},
		{Method, "Get", "shop.v1.Store/Get"},
		{Service, "Depot", "shop.v1.Depot"},
		{Service, ".shop.v1.Depot", "shop.v1.Depot"},
		{Any, "Depot", "shop.v1.Depot"},
		{Any, "Store/Get", "shop.v1.Store/Get"},
		{Any, "Part", "shop.v1.Item.Part"},
		{Any, "Part.name", "shop.v1.Item.Part.name"},
		{Any, "shop.v1.Item.ItemsEntry", "shop.v1.Item.ItemsEntry"},
		{Any, "RED", "shop.v1.Color.RED"},
		{Any, "Color.RED", "shop.v1.Color.RED"},
		{Any, "shop.v1.RED", "shop.v1.Color.RED"},
	} {
		s, err := c.Resolve(testContext(t), tt.kind, tt.name)
		if err != nil || Name(s.Descriptor) != tt.want {
			t.Errorf("Resolve(%v, %q) = %v, %v, want %s", tt.kind, tt.name, s, err, tt.want)
		}
	}
}

func TestResolveErrors(t *testing.T) {
	t.Parallel()
	c := NewCatalog(FromSet(storeSet(t)))
	for _, tt := range []struct {
		kind                    Kind
		name                    string
		candidates, suggestions []string
	}{
		{Method, "Put", []string{"shop.v1.Depot/Put", "shop.v1.Store/Put"}, nil},
		{Method, "store/get", nil, []string{"shop.v1.Store/Get"}},
		{Method, "shop.v1.Stroe/Get", nil, []string{"shop.v1.Store/Get"}},
		{Method, "Item", nil, nil},
		{Service, "Stor", nil, []string{"shop.v1.Store"}},
		{Service, "Item", nil, nil},
		{Any, "name", []string{"shop.v1.Item.Part.name", "shop.v1.Item.name"}, nil},
		{Any, "Itme", nil, []string{"shop.v1.Item"}},
		{Any, "", nil, nil},
		{Any, "...", nil, nil},
		{Any, "nothing like it", nil, nil},
	} {
		_, err := c.Resolve(testContext(t), tt.kind, tt.name)
		ne, ok := errors.AsType[*NameError](err)
		if !ok || !slices.Equal(ne.Candidates, tt.candidates) || !slices.Equal(ne.Suggestions, tt.suggestions) || ne.Name != tt.name {
			t.Errorf("Resolve(%v, %q) = %+v, want %q or %q", tt.kind, tt.name, err, tt.candidates, tt.suggestions)
		}
	}
}

func TestSymbols(t *testing.T) {
	t.Parallel()
	c := NewCatalog(FromSet(storeSet(t)))
	got, err := c.Symbols(testContext(t), Method)
	if want := []string{"shop.v1.Depot/Put", "shop.v1.Store/Get", "shop.v1.Store/Put"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("Symbols(Method) = %q, %v, want %q", got, err, want)
	}
	got, err = c.Symbols(testContext(t), Any)
	if err != nil || !slices.Contains(got, "shop.v1.Color.RED") || !slices.Contains(got, "shop.v1.Item.color") || slices.Contains(got, "shop.v1.Item.ItemsEntry") {
		t.Errorf("Symbols(Any) = %q, %v", got, err)
	}
}
