//go:build linux && !race

package hostile

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// cgroupMemory is the memory of a small container, in bytes.
const cgroupMemory = 512 * mib

// TestAttacksInCgroup runs the attacks on memory on processes that have 512 MiB.
func TestAttacksInCgroup(t *testing.T) {
	dir, err := newCgroup(t)
	if err != nil {
		t.Skip("the rights to make a cgroup are missing: ", err)
	}
	p := build(t).with(fmt.Sprintf("echo $$ >%s/cgroup.procs", dir))
	for _, a := range slices.Concat(headerAttacks, messageAttacks) {
		t.Run(a.name, func(t *testing.T) { a.test(t, p) })
	}
}

// newCgroup returns the folder of a cgroup with cgroupMemory and no swap, which is removed
// when t ends.
func newCgroup(t *testing.T) (string, error) {
	t.Helper()
	parent, limits, err := memoryCgroup()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(parent, fmt.Sprintf("wstun-test-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	t.Cleanup(func() { _ = os.Remove(dir) })
	for file, value := range limits {
		err := os.WriteFile(filepath.Join(dir, file), []byte(strconv.Itoa(value)), 0)
		if os.IsNotExist(err) && strings.Contains(file, "sw") {
			continue // the kernel has no swap accounting
		}
		if err != nil {
			return "", err
		}
	}
	return dir, nil
}

// memoryCgroup returns the folder of this process's memory cgroup, in which others can be
// made, and the limits of those by their files.
func memoryCgroup() (string, map[string]int, error) {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", nil, err
	}
	if m := regexp.MustCompile(`(?m)^\d+:([^:]*,)?memory(,[^:]*)?:(.*)$`).FindSubmatch(own); m != nil {
		return filepath.Join("/sys/fs/cgroup/memory", string(m[3])), map[string]int{"memory.limit_in_bytes": cgroupMemory, "memory.swappiness": 0}, nil
	}
	m := regexp.MustCompile(`(?m)^0::(.*)$`).FindSubmatch(own)
	if m == nil {
		return "", nil, fmt.Errorf("unknown: %q", own)
	}
	// A cgroup with processes can't control its children's memory, so this one's parent
	// must.
	parent := filepath.Dir(filepath.Join("/sys/fs/cgroup", string(m[1])))
	control := filepath.Join(parent, "cgroup.subtree_control")
	controllers, err := os.ReadFile(control)
	if err != nil {
		return "", nil, err
	}
	if !slices.Contains(strings.Fields(string(controllers)), "memory") {
		return "", nil, fmt.Errorf("%s doesn't have memory", control)
	}
	return parent, map[string]int{"memory.max": cgroupMemory, "memory.swap.max": 0}, nil
}
