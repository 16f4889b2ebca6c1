package main

import (
	"os"
	"runtime"
	"testing"
)

func TestProc(t *testing.T) {
	t.Parallel()
	touched := make([]byte, 64<<20)
	for spent := int64(0); spent == 0; { // until a tick has passed
		for i := range touched {
			touched[i]++
		}
		cpu, err := cpuTime(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		spent = int64(cpu)
	}
	memory, err := residentMemory(os.Getpid())
	if err != nil || memory < float64(len(touched)) {
		t.Errorf("residentMemory = %v, %v, want at least %d", memory, err, len(touched))
	}
	runtime.KeepAlive(touched)
	if _, err := cpuTime(0); err == nil {
		t.Error("cpuTime(0): no error")
	}
	if n := openFiles(); n < 10 {
		t.Errorf("openFiles() = %d, want at least 10", n)
	}
}
