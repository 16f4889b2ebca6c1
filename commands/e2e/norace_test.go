//go:build unix && !race

package e2e

var raceFlags []string
