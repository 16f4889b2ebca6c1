// This file is part of the program only in the tests of commands/e2e/hostile.

package main

import (
	"fmt"
	"math"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
)

// init starts to answer each SIGUSR1 with the bytes of live heap, a line on file descriptor 3.
// They don't include the descriptors of goroutines, which the runtime reuses but never frees.
func init() {
	runtime.MemProfileRate = 64 << 10
	requests := make(chan os.Signal, 1)
	signal.Notify(requests, syscall.SIGUSR1)
	answers := os.NewFile(3, "heap")
	go func() {
		for range requests {
			runtime.GC()
			runtime.GC() // frees the objects of pools and finalizers
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			fmt.Fprintln(answers, int64(m.HeapAlloc)-descriptors())
		}
	}()
}

// descriptors estimates the bytes of the descriptors of goroutines from the samples of the
// memory profile.
func descriptors() (bytes int64) {
	n, _ := runtime.MemProfile(nil, false)
	samples := make([]runtime.MemProfileRecord, n+100)
	n, _ = runtime.MemProfile(samples, false)
	for _, sample := range samples[:n] {
		frames := runtime.CallersFrames(sample.Stack())
		for frame, more := frames.Next(); more; frame, more = frames.Next() {
			if objects := sample.InUseObjects(); objects > 0 && strings.HasPrefix(frame.Function, "runtime.malg") {
				size := float64(sample.InUseBytes()) / float64(objects)
				bytes += int64(float64(sample.InUseBytes()) / (1 - math.Exp(-size/float64(runtime.MemProfileRate))))
				break
			}
		}
	}
	return bytes
}
