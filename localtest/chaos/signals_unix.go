//go:build unix

package main

import (
	"os"
	"syscall"
)

// stopSignal makes a process stand still until it gets goOnSignal.
var stopSignal, goOnSignal os.Signal = syscall.SIGSTOP, syscall.SIGCONT
