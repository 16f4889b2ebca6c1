package main

import (
	"regexp"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	t.Parallel()
	const events = `{"ImportPath":"p/broken","Action":"build-output","Output":"broken.go:1: syntax error\n"}
{"Action":"run","Package":"p","Test":"TestGood"}
{"Action":"output","Package":"p","Test":"TestGood","Output":"noise of a good test\n"}
{"Action":"pass","Package":"p","Test":"TestGood","Elapsed":2.5}
{"Action":"output","Package":"p","Test":"TestBad","Output":"    p_test.go:1: bad\n"}
{"Action":"fail","Package":"p","Test":"TestBad","Elapsed":0.1}
{"Action":"output","Package":"p","Test":"TestNeedsX","Output":"=== RUN   TestNeedsX\n"}
{"Action":"output","Package":"p","Test":"TestNeedsX","Output":"    p_test.go:2: x is not installed\n"}
{"Action":"output","Package":"p","Test":"TestNeedsX","Output":"--- SKIP: TestNeedsX (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestNeedsX","Elapsed":0}
{"Action":"output","Package":"p","Test":"TestPanic","Output":"panic: now\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t3.0s\n"}
{"Action":"fail","Package":"p","Elapsed":3}
{"Action":"output","Package":"q","Output":"PASS\n"}
{"Action":"output","Package":"q","Output":"ok  \tq\t0.1s\n"}
{"Action":"pass","Package":"q","Elapsed":0.1}
`
	const want = `broken.go:1: syntax error
    p_test.go:1: bad
panic: now
FAIL	p	3.0s
ok  	q	0.1s

the slowest tests:
     2.5s  p.TestGood
     0.1s  p.TestBad
     0.0s  p.TestNeedsX
3 tests and subtests, skipped: 1
`
	for allowed, skipped := range map[string]string{
		"x is not": "skipped  p.TestNeedsX: p_test.go:2: x is not installed\n",
		"y is not": "SKIPPED  p.TestNeedsX: p_test.go:2: x is not installed\n",
	} {
		var out strings.Builder
		r := &report{w: &out, allowed: regexp.MustCompile(allowed)}
		if err := r.read(strings.NewReader(events)); err != nil {
			t.Fatal(err)
		}
		if err := r.finish(); (err == nil) != (allowed == "x is not") {
			t.Errorf("%q: %v", allowed, err)
		}
		if got, want := out.String(), want+skipped+"FAILED  p.TestBad\n\tp_test.go:1: bad\nFAILED  p\n\tpanic: now\n"; got != want {
			t.Errorf("%q:\n%s\nwant:\n%s", allowed, got, want)
		}
	}
}

func TestFailure(t *testing.T) {
	t.Parallel()
	const script = `=== RUN   TestScripts/x
    testscript.go:609: WORK=$WORK
        > exec false
        FAIL: x.txtar:1: unexpected failure
`
	for out, want := range map[string]string{
		"--- FAIL: TestParent (1.00s)\n": "",
		script:                           "testscript.go:609: WORK=$WORK\n\tFAIL: x.txtar:1: unexpected failure",
		"    x_test.go:9: " + strings.Repeat("a", 500):        "x_test.go:9: " + strings.Repeat("a", 287),
		strings.Repeat("    x_test.go:1: a\n", 9) + "FAIL: b": strings.Repeat("x_test.go:1: a\n\t", 3) + "FAIL: b",
	} {
		if got := failure(out); got != want {
			t.Errorf("failure(%q) = %q, want %q", out, got, want)
		}
	}
}
