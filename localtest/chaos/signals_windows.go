package main

import "os"

// There are no such signals: a process is killed instead.
var stopSignal, goOnSignal os.Signal = os.Kill, os.Kill
