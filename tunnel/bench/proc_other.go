//go:build !linux

package main

import (
	"errors"
	"syscall"
	"time"
)

func cpuTime(int) (time.Duration, error) { return 0, errors.ErrUnsupported }

func residentMemory(int) (float64, error) { return 0, errors.ErrUnsupported }

func openFiles() int { return unlimited }

func childAttributes() *syscall.SysProcAttr { return nil }
