package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// hideInput stops the terminal from showing what is typed, until the returned function is called.
func hideInput(e *env) (restore func()) {
	f, ok := e.stdin.(*os.File)
	if !ok {
		return func() {}
	}
	old, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return func() {} // not a terminal
	}
	quiet := *old
	quiet.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, &quiet); err != nil {
		return func() {}
	}
	return func() {
		_ = unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, old) // nothing better can be done at the end of a command
		fmt.Fprintln(e.stderr)
	}
}

// isTerminal reports whether somebody looks at the file.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
