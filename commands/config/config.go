// Package config reads the configuration file, in which targets have names:
//
//	targets:
//	  staging:
//	    url: wss://worker.example/v1/ws/sync
//	    token-file: staging.token
//	    header: ["X-Env: staging"]
//	    connect-timeout: 3s
//
// A target has a url, which may be left out, and values of flags. Relative paths are
// relative to the folder of the file, and ~/ is the user's home. Aliases, merge keys (<<) and
// comments work.
//
//	file, err := config.Load(path, keys)
//	target := file.Targets["staging"]
package config

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/wstun/wstun/commands/textfile"
)

// URL is the key for the URL, or the address of a gRPC server, of a target.
const URL = "url"

// Kind is the kind of a key's values.
type Kind int

// The kinds. Values are texts as on the command line.
const (
	Text      Kind = iota
	Header         // Name: value
	Address        // host:port, unix:PATH or a URL
	Path           // of a file or folder; none stays as it is
	ProtoFile      // a path, or a name in the import paths
	Bool
	Int
	Duration
	Seconds // or a duration
	Size
	CommandLine // not allowed in the file
)

// A Key says which values a key of a target may have.
type Key struct {
	Kind       Kind
	Repeatable bool // the value is a list, or one value
}

// Keys are the keys of a target by their names: URL, and those of flags.
type Keys map[string]Key

// A File is a configuration file.
type File struct {
	Path    string
	Targets map[string]*Target

	// Shared says that other users have access to the file. Always false on Windows.
	Shared bool
}

// A Target is an entry of a File.
type Target struct {
	Name     string
	Line     int
	Settings []Setting // with unique keys, in the order of the file
}

// A Setting is the value of a key.
type Setting struct {
	Key    string
	Line   int
	Values []string // more than one only for a repeatable key
}

// Setting returns the setting of a key, nil if t has none.
func (t *Target) Setting(key string) *Setting {
	i := slices.IndexFunc(t.Settings, func(s Setting) bool { return s.Key == key })
	if i < 0 {
		return nil
	}
	return &t.Settings[i]
}

// Get returns the values of a key, nil if t has none.
func (t *Target) Get(key string) []string {
	if s := t.Setting(key); s != nil {
		return s.Values
	}
	return nil
}

// HasHeaders reports whether any target has headers or metadata, which may be secret.
func (f *File) HasHeaders(keys Keys) bool {
	for _, t := range f.Targets {
		for _, s := range t.Settings {
			if keys[s.Key].Kind == Header {
				return true
			}
		}
	}
	return false
}

// DefaultPath returns the path of the file in the user's configuration folder. The error is
// that of [os.UserConfigDir].
func DefaultPath() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "wstun", "config.yaml"), nil
}

// Load reads the file at path. The error is an [*fs.PathError] if it can't be read, and
// otherwise that of [Parse].
func Load(path string, keys Keys) (*File, error) {
	text, err := textfile.Read(path)
	if err != nil {
		return nil, err
	}
	f, err := Parse(path, text, keys)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	const others fs.FileMode = 0o077
	f.Shared = runtime.GOOS != "windows" && info.Mode()&others != 0
	return f, nil
}
