// This file is part of the program only in the tests of commands/e2e/hostile.

package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

// init starts to answer each SIGUSR1 with the bytes of live heap, a line on file descriptor 3.
func init() {
	requests := make(chan os.Signal, 1)
	signal.Notify(requests, syscall.SIGUSR1)
	answers := os.NewFile(3, "heap")
	go func() {
		for range requests {
			runtime.GC()
			runtime.GC() // frees the objects of pools and finalizers
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			fmt.Fprintln(answers, m.HeapAlloc)
		}
	}()
}
