// Command gotest runs go test, and fails also if it skips a test that this machine could
// run.
//
//	go run ./.ci/gotest [-without REGEXP] -- ARG…
//
// It passes ARG… to go test. Tests with programs that REGEXP matches may be skipped. It prints
// the results of packages and the output of failed tests, as go test does, followed by the
// slowest tests, the skipped ones, and the reasons of the failed ones.
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"
)

// mayBeSkipped matches the reasons to skip a test on any machine.
const mayBeSkipped = `isn't set$` + // tests that measure, or draw, need a variable
	`|WSTUN_LONG_TESTS=1` + // the tests with the race detector include the long ones
	`|the race detector has nothing to find` + // the tests without it include these
	`|the rights to .* are missing` + // for example, only root can change its user
	`|the history isn't available` // a shallow clone

const slowest = 15 // tests that are printed

func main() {
	without := flag.String("without", "", "a `REGEXP` that matches programs that can't be installed")
	flag.Parse()
	allowed := mayBeSkipped
	if *without != "" {
		allowed += "|^.*(" + *without + ") is not installed"
	}
	cmd := exec.Command("go", append([]string{"test", "-json"}, flag.Args()...)...) //nolint:gosec,noctx // the arguments are the caller's, and Ctrl-C also ends the child
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		r := &report{w: os.Stdout, allowed: regexp.MustCompile("(?i)" + allowed)}
		err = r.read(stdout)
		err = errors.Join(err, cmd.Wait(), r.finish())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// event is an event of go test -json. See go doc test2json.
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

// result is that of a test.
type result struct {
	name    string // with the package
	elapsed time.Duration
	reason  string // for skipping it, or of its failure
}

// report collects events and writes a report.
type report struct {
	w       io.Writer
	allowed *regexp.Regexp // reasons to skip a test

	output                 map[string]*bytes.Buffer // of the tests that run, by package and test
	tests, skipped, failed []result
}

// read reads the events of go test.
func (r *report) read(events io.Reader) error {
	r.output = map[string]*bytes.Buffer{}
	for d := json.NewDecoder(events); ; {
		var e event
		if err := d.Decode(&e); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("the output of go test: %w", err)
		}
		r.add(&e)
	}
}

func (r *report) add(e *event) {
	key := strings.TrimSuffix(e.Package+"."+e.Test, ".")
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.w, e.Output)
	case "output":
		if r.output[key] == nil {
			r.output[key] = new(bytes.Buffer)
		}
		_, _ = r.output[key].WriteString(e.Output)
	case "pass", "fail", "skip":
		out := r.output[key].String() // "<nil>" without one
		delete(r.output, key)
		switch {
		case e.Test == "":
			r.addPackage(e, out)
			return
		case e.Action == "fail":
			fmt.Fprint(r.w, out)
			r.failed = append(r.failed, result{name: key, reason: failure(out)})
		case e.Action == "skip":
			r.skipped = append(r.skipped, result{name: key, reason: reason(out)})
		}
		r.tests = append(r.tests, result{name: key, elapsed: time.Duration(e.Elapsed * float64(time.Second))})
	}
}

// addPackage prints the result of a package, and, if it has failed, the output of the tests
// that haven't ended.
func (r *report) addPackage(e *event, out string) {
	all := bytes.NewBufferString(out)
	for key, unfinished := range r.output {
		if strings.HasPrefix(key, e.Package+".") {
			if e.Action == "fail" {
				fmt.Fprint(r.w, unfinished)
				_, _ = all.Write(unfinished.Bytes())
			}
			delete(r.output, key)
		}
	}
	if e.Action == "fail" {
		r.failed = append(r.failed, result{name: e.Package, reason: failure(all.String())})
	}
	if lines := strings.SplitAfter(out, "\n"); e.Action != "fail" && len(lines) > 1 {
		out = lines[len(lines)-2] // such as "ok  package  1.2s"
	}
	fmt.Fprint(r.w, out)
}

// noise matches the lines of a test's output that aren't the test's own.
var noise = regexp.MustCompile(`(?m)^\s*(=== (RUN|PAUSE|CONT|NAME)|--- SKIP).*\n`)

// reason returns the first line that a skipped test has printed.
func reason(out string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(noise.ReplaceAllString(out, "")), "\n")
	return line
}

// failureLine matches the lines of a test's output in which a test, or a script, may say why it has
// failed.
var failureLine = regexp.MustCompile(`(?m)^\s*(\S*\.go:\d+: |FAIL: |panic: ).*`)

// failure returns the first lines that may say why a test has failed, and the last one, which is
// the reason for a script, shortened. A test that has failed since a subtest has failed has none.
func failure(out string) string {
	const first, length = 3, 300
	var lines []string
	for _, line := range failureLine.FindAllString(out, -1) {
		lines = append(lines, fmt.Sprintf("%.*s", length, strings.TrimSpace(line)))
	}
	if len(lines) > first+1 {
		lines = slices.Delete(lines, first, len(lines)-1)
	}
	return strings.Join(lines, "\n\t")
}

// finish prints the slowest tests, the skipped ones, and why others have failed. It returns an
// error if a test must not be skipped.
func (r *report) finish() error {
	slices.SortFunc(r.tests, func(a, b result) int { return cmp.Compare(b.elapsed, a.elapsed) })
	fmt.Fprintln(r.w, "\nthe slowest tests:")
	for _, t := range r.tests[:min(slowest, len(r.tests))] {
		fmt.Fprintf(r.w, "%8.1fs  %s\n", t.elapsed.Seconds(), t.name)
	}
	fmt.Fprintf(r.w, "%d tests and subtests, skipped: %d\n", len(r.tests), len(r.skipped))
	bad := 0
	for _, t := range r.skipped {
		mark := "skipped"
		if !r.allowed.MatchString(t.reason) {
			mark = "SKIPPED"
			bad++
		}
		fmt.Fprintf(r.w, "%s  %s: %s\n", mark, t.name, t.reason)
	}
	for _, t := range r.failed {
		if t.reason != "" {
			fmt.Fprintf(r.w, "FAILED  %s\n\t%s\n", t.name, t.reason)
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d tests were skipped that this machine could run", bad)
	}
	return nil
}
