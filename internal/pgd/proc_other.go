//go:build !linux

package pgd

import "syscall"

// dieWithParent does nothing here: only Linux tells a child of its parent's death.
func dieWithParent(*syscall.SysProcAttr) {}
