//go:build !linux

package main

import "os"

// hideInput is only known for Linux; elsewhere the password shows while it is typed.
func hideInput(*env) (restore func()) { return func() {} }

// isTerminal reports whether somebody looks at the file, or a device such as /dev/null stands there.
func isTerminal(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}
