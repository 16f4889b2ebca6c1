//go:build !linux

package main

import (
	"context"
	"fmt"
)

func (p *program) inNamespace(context.Context, []string) error {
	return fmt.Errorf("%w: not Linux", errNoNamespace)
}

func prepareNetwork() (string, error) { return "the machine's own network", nil }
