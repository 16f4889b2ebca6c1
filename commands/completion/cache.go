package completion

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Cache remembers candidates for a while, in files that only their owner can read. What
// goes wrong with them is as if they weren't there. Any number of processes may use
// one folder.
type Cache struct {
	Dir    string        // is made if need be, and holds nothing else; empty: nothing is remembered
	MaxAge time.Duration // after which what was put is forgotten
}

// Get returns what was put under a key.
func (c *Cache) Get(key string) ([]Candidate, bool) {
	if c.Dir == "" {
		return nil, false
	}
	info, err := os.Stat(c.path(key))
	if err != nil || c.expired(info) {
		return nil, false
	}
	text, err := os.ReadFile(c.path(key))
	if err != nil {
		return nil, false
	}
	var candidates []Candidate
	for line := range strings.Lines(string(text)) {
		name, description, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		candidates = append(candidates, Candidate{name, description})
	}
	return candidates, true
}

// Put remembers candidates, and removes what is to be forgotten. Of the key, a hash is
// written.
func (c *Cache) Put(key string, candidates []Candidate) {
	if c.Dir == "" || os.MkdirAll(c.Dir, 0o700) != nil {
		return
	}
	entries, _ := os.ReadDir(c.Dir) // those that can be read
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() && c.expired(info) {
			_ = os.Remove(filepath.Join(c.Dir, entry.Name()))
		}
	}
	file, err := os.CreateTemp(c.Dir, "new-*") // with mode 0600
	if err != nil {
		return
	}
	_, err = (&Answer{Candidates: candidates}).WriteTo(file)
	if cerr := file.Close(); err != nil || cerr != nil || os.Rename(file.Name(), c.path(key)) != nil {
		_ = os.Remove(file.Name())
	}
}

func (c *Cache) path(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(c.Dir, hex.EncodeToString(sum[:]))
}

// expired holds for files of the future, too: somebody has set the clock.
func (c *Cache) expired(info os.FileInfo) bool {
	age := time.Since(info.ModTime())
	return age < -time.Second || age > c.MaxAge
}
