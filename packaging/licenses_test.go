package packaging

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write THIRD_PARTY.txt")

// platforms are those of .goreleaser.yaml.
var platforms = []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64", "windows/arm64"}

const thirdPartyHead = `wstun contains the standard library of Go and these modules, with the licenses and notices
below. "go version -m wstun" prints their versions, "go mod download MODULE@VERSION" fetches
the source code of one, and https://pkg.go.dev/MODULE links to its repository.

`

// licenseFile matches the names of licenses and notices.
var licenseFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents)(\.(md|txt)|-[a-z0-9]+)?$`)

// licenses has a phrase of each license under which code may be linked.
var licenses = map[string]string{
	"Apache-2.0": "Apache License",
	"BSD":        "Redistribution and use in source and binary forms",
	"MIT":        "Permission is hereby granted, free of charge",
	"MPL-2.0":    "Mozilla Public License, version 2.0",
}

// TestThirdParty compares THIRD_PARTY.txt with the modules linked on any platform, and writes
// it with -update.
func TestThirdParty(t *testing.T) {
	modules := linked(t)
	owners, texts := map[string][]string{}, map[string]string{} // by the words of a text
	var names strings.Builder
	for _, module := range slices.Sorted(maps.Keys(modules)) {
		fmt.Fprintln(&names, "  "+module)
		words := ""
		for _, dir := range slices.Sorted(maps.Keys(modules[module].dirs)) {
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if e.IsDir() || !licenseFile.MatchString(e.Name()) {
					continue
				}
				text, err := os.ReadFile(filepath.Join(dir, e.Name()))
				if err != nil {
					t.Fatal(err)
				}
				key := strings.Join(strings.Fields(string(text)), " ")
				words += key
				rel, _ := filepath.Rel(modules[module].root, filepath.Join(dir, e.Name()))
				owners[key] = append(owners[key], module+"/"+filepath.ToSlash(rel))
				texts[key] = strings.TrimSpace(strings.ReplaceAll(string(text), "\r\n", "\n"))
			}
		}
		if !slices.ContainsFunc(slices.Collect(maps.Values(licenses)), func(phrase string) bool { return strings.Contains(words, phrase) }) {
			t.Errorf("%s has no license of %q", module, slices.Sorted(maps.Keys(licenses)))
		}
	}
	want := []byte(thirdPartyHead + names.String())
	for _, key := range slices.SortedFunc(maps.Keys(owners), func(a, b string) int { return cmp.Compare(owners[a][0], owners[b][0]) }) {
		want = fmt.Appendf(want, "\n%s\n%s\n%s\n\n%s\n", strings.Repeat("=", 80), strings.Join(owners[key], "\n"), strings.Repeat("-", 80), texts[key])
	}
	if *update {
		if err := os.WriteFile("THIRD_PARTY.txt", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, err := os.ReadFile("THIRD_PARTY.txt"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("THIRD_PARTY.txt (%v) is not that of the linked modules: run go test ./packaging -update", err)
	}
}

// module is a module, with the folders of its packages and those above them.
type module struct {
	root string
	dirs map[string]bool
}

// linked returns the modules of all platforms, by their paths.
func linked(t *testing.T) map[string]module {
	t.Helper()
	goroot := strings.TrimSpace(string(run(t, nil, "go", "env", "GOROOT")))
	modules := map[string]module{"std": {goroot, map[string]bool{goroot: true}}}
	for _, platform := range platforms {
		goos, goarch, _ := strings.Cut(platform, "/")
		env := []string{"GOOS=" + goos, "GOARCH=" + goarch, "CGO_ENABLED=0"}
		list := run(t, env, "go", "list", "-deps", "-tags", "grpcnotrace", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}\t{{.Dir}}\t{{$.Dir}}{{end}}{{end}}", "..")
		for line := range strings.Lines(string(list)) {
			f := strings.Split(strings.TrimSpace(line), "\t")
			if len(f) != 3 {
				continue
			}
			path, root, dir := f[0], f[1], f[2]
			if _, ok := modules[path]; !ok {
				modules[path] = module{root, map[string]bool{}}
			}
			for ; len(dir) >= len(root); dir = filepath.Dir(dir) {
				modules[path].dirs[dir] = true
			}
		}
	}
	return modules
}

// run returns the output of a command.
func run(t *testing.T, env []string, name string, args ...string) []byte {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Env, cmd.Stderr = append(os.Environ(), env...), &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", cmd, err, out, &stderr)
	}
	return out
}

// need skips the test without a program, which only Linux has.
func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil || runtime.GOOS != "linux" {
		t.Skip(program + " is not installed")
	}
}
