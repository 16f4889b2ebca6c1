package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of times in /proc: USER_HZ is 100 on all architectures of Go.
const tick = 10 * time.Millisecond

// cpuTime returns the CPU time that the process has used.
func cpuTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) // the name may have blanks
	const user, system = 11, 12                                     // after the name; fields 14 and 15 in proc_pid_stat(5)
	if len(fields) <= system {
		return 0, errors.New("/proc: not a stat file")
	}
	var sum time.Duration
	for _, field := range [][]byte{fields[user], fields[system]} {
		n, err := strconv.Atoi(string(field))
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}

// residentMemory returns the resident memory of the process in bytes.
func residentMemory(pid int) (float64, error) {
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(statm)
	if len(fields) < 2 {
		return 0, errors.New("/proc: not a statm file")
	}
	pages, err := strconv.Atoi(string(fields[1]))
	return float64(pages * os.Getpagesize()), err
}

// openFiles returns how many files a process may have open: the hard limit, to which the
// Go runtime raises the soft one.
func openFiles() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return unlimited
	}
	return int(min(limit.Max, unlimited))
}

// childAttributes makes the kernel kill a child when this process ends, and puts it in
// its own process group so that Ctrl-C doesn't reach it.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGKILL}
}
