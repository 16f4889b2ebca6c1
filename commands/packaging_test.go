package commands

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"go.yaml.in/yaml/v4"
)

// packaged is a command line in a file of ../packaging.
type packaged struct {
	program string // the image or the path
	args    []string
	env     map[string]string
}

// TestPackagedCommandLines parses the command lines of the units and the examples.
func TestPackagedCommandLines(t *testing.T) {
	lines := map[string][]packaged{}
	for _, pattern := range []string{"systemd/*.service", "compose/compose.yaml", "kubernetes/*.yaml", "kubernetes/*/*.yaml"} {
		paths, err := filepath.Glob("../packaging/" + pattern)
		if err != nil || len(paths) == 0 {
			t.Fatal(pattern, err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if filepath.Ext(path) == ".service" {
				lines[path] = []packaged{unitLine(t, string(text))}
				continue
			}
			for dec := yaml.NewDecoder(bytes.NewReader(text)); ; {
				var document any
				if err := dec.Decode(&document); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatalf("%s: %v", path, err)
				}
				lines[path] = append(lines[path], containers(document)...)
			}
		}
	}
	commands := map[string]int{}
	for path, all := range lines {
		for _, line := range all {
			switch {
			case strings.Contains(line.program, "wstun"):
				commands[line.args[0]]++
				t.Run(fmt.Sprintf("%s %s", filepath.Base(path), line.args[0]), func(t *testing.T) {
					for name, value := range line.env {
						t.Setenv(name, value)
					}
					if _, err := parse(t, line.args...); err != nil {
						t.Errorf("%q with %q: %v", line.args, line.env, err)
					}
				})
			case strings.HasPrefix(line.program, "nats:"):
				if _, err := server.ConfigureOptions(flag.NewFlagSet("nats", flag.ContinueOnError), line.args, nil, nil, nil); err != nil {
					t.Errorf("%s: nats-server %q: %v", path, line.args, err)
				}
			}
		}
	}
	if want := map[string]int{"serve": 3, "dial": 2, "relay": 6}; !maps.Equal(commands, want) {
		t.Errorf("found commands %v, want %v", commands, want)
	}
}

// unitLine returns the command line of a unit, with the variables in the comment above it.
func unitLine(t *testing.T, text string) packaged {
	t.Helper()
	env := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^#   (\w+)=(.*)$`).FindAllStringSubmatch(text, -1) {
		env[m[1]] = m[2]
	}
	m := regexp.MustCompile(`(?m)^ExecStart=(\S+) (.*)$`).FindStringSubmatch(text)
	if m == nil || len(env) < 3 {
		t.Fatalf("no ExecStart, or no variables, in:\n%s", text)
	}
	return packaged{program: m[1], args: strings.Fields(os.Expand(m[2], func(name string) string { return env[name] })), env: env}
}

// containers returns the command lines of the maps with an image in a document.
func containers(document any) (all []packaged) {
	switch node := document.(type) {
	case []any:
		for _, element := range node {
			all = append(all, containers(element)...)
		}
	case map[string]any:
		if image, ok := node["image"].(string); ok {
			line := packaged{program: image, env: map[string]string{}}
			for _, key := range []string{"command", "args"} {
				list, _ := node[key].([]any)
				for _, arg := range list {
					text := strings.NewReplacer("$(POD_IP)", "10.0.0.7", "$(POD_NAME)", "relay-5d9c-x7x2k").Replace(fmt.Sprint(arg))
					line.args = append(line.args, text)
				}
			}
			environment, _ := node["environment"].(map[string]any)
			for name, value := range environment {
				line.env[name] = fmt.Sprint(value)
			}
			return []packaged{line}
		}
		for _, key := range slices.Sorted(maps.Keys(node)) {
			all = append(all, containers(node[key])...)
		}
	}
	return all
}

// TestPackagedPolicies reads the policies of the examples.
func TestPackagedPolicies(t *testing.T) {
	for _, path := range []string{"../packaging/compose/policy.yaml", "../packaging/kubernetes/fleet/policy.yaml"} {
		if _, err := loadPolicy(path, &keySets{}); err != nil {
			t.Error(err)
		}
	}
}
