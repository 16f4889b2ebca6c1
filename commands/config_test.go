package commands

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// These tests are not parallel: urfave/cli has a help flag for all Apps.

// runConfig runs wstun config, and returns its output with single spaces.
func runConfig(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr strings.Builder
	if status := Main(t.Context(), append([]string{"wstun", "config"}, args...), strings.NewReader(""), &stdout, &stderr); status != exitOK || stderr.Len() > 0 {
		t.Fatalf("status %d, stderr %q", status, &stderr)
	}
	return regexp.MustCompile(`  +`).ReplaceAllString(stdout.String(), " ")
}

func TestConfig(t *testing.T) {
	path := writeConfig(t, `
targets:
  hub:
    url: wss://user:s3cret-password@hub/?key=s3cret-query
    header: ["X-One: s3cret-header", "X-Two: s"]
    token-file: token
    proxy: http://user:pw@proxy:3128
    log-level: debug
  plain: {url: "h:1"}
`)
	t.Setenv("WSTUN_TARGET", "@plain")
	t.Setenv("WSTUN_PING_TIMEOUT", "2m")
	got := runConfig(t, "hub")
	for _, line := range []string{
		"config " + path + " WSTUN_CONFIG",
		"@hub wss://hub/ " + path + ":3",
		"@plain h:1 " + path + ":9",
		"target hub command line",
		"url wss://hub/ " + path + ":4",
		"header X-One: *** " + path + ":5",
		"header X-Two: *** " + path + ":5",
		"token-file " + filepath.Join(filepath.Dir(path), "token") + " " + path + ":6",
		"proxy http://proxy:3128 " + path + ":7",
		"log-level debug " + path + ":8",
		"ping-timeout 2m WSTUN_PING_TIMEOUT",
		"ping-interval 30s default",
		"yamux-role client default of tap, check",
	} {
		if !slices.Contains(strings.Split(got, "\n"), line) {
			t.Errorf("no line %q in\n%s", line, got)
		}
	}
	if strings.Contains(got, "s3cret") || strings.Contains(got, "pw") || strings.Count(got, "log-level") != 1 {
		t.Errorf("output\n%s", got)
	}

	t.Setenv("WSTUN_TOKEN", "s3cret")
	t.Setenv("WSTUN_HEADER", "X-Env: s3cret")
	got = runConfig(t, "@hub")
	for _, line := range []string{"token *** WSTUN_TOKEN", "header X-Env: *** WSTUN_HEADER"} {
		if !slices.Contains(strings.Split(got, "\n"), line) {
			t.Errorf("no line %q in\n%s", line, got)
		}
	}
	if strings.Contains(got, "token-file") || strings.Contains(got, "s3cret") || strings.Count(got, "header X-") != 1 {
		t.Errorf("variables don't override the file:\n%s", got)
	}
	if got = runConfig(t); !strings.Contains(got, "\ntarget @plain WSTUN_TARGET\nurl h:1 "+path+":9\n") {
		t.Errorf("output\n%s", got)
	}
	if got = runConfig(t, "--target", "ws://h/"); !strings.Contains(got, "\ntarget ws://h/ command line\n") || strings.Contains(got, "\nurl") {
		t.Errorf("output\n%s", got)
	}
}

func TestConfigJSON(t *testing.T) {
	path := writeConfig(t, "targets:\n  hub:\n    url: ws://hub/\n")
	var found []setting
	for line := range strings.Lines(runConfig(t, "--output", "json", "hub")) {
		var s setting
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		found = append(found, s)
	}
	for _, want := range []setting{
		{Key: "config", Value: path, Source: fromVariable, Variable: "WSTUN_CONFIG"},
		{Key: "@hub", Value: "ws://hub/", Source: fromFile, File: path, Line: 2},
		{Key: "target", Value: "hub", Source: fromLine},
		{Key: "url", Value: "ws://hub/", Source: fromFile, File: path, Line: 3},
		{Key: "wait", Value: "5s", Source: fromDefault},
	} {
		if !slices.ContainsFunc(found, func(s setting) bool {
			return s.Key == want.Key && s.Value == want.Value && s.Source == want.Source && s.Variable == want.Variable && s.File == want.File && s.Line == want.Line
		}) {
			t.Errorf("no %+v in %+v", want, found)
		}
	}
}

func TestConfigWithoutFile(t *testing.T) {
	if got := runConfig(t); !strings.HasPrefix(got, "config none WSTUN_CONFIG\n") {
		t.Errorf("output\n%s", got)
	}
	t.Setenv("WSTUN_CONFIG", "")
	folder := t.TempDir()
	for _, variable := range []string{"XDG_CONFIG_HOME", "HOME", "AppData"} {
		t.Setenv(variable, folder)
	}
	if got := runConfig(t); !strings.HasPrefix(got, "config "+folder) || !strings.Contains(got, " default, doesn't exist\n") {
		t.Errorf("output\n%s", got)
	}
}
