//go:build !linux

package realinput_test

import "os/exec"

// dieWithParent does nothing: only Linux can tie a child to its parent's life.
// The children end with their standard input.
func dieWithParent(*exec.Cmd) {}
