//go:build !linux

package natstest

import "os/exec"

// dieWithParent does nothing: only Linux can tie a child to its parent's life.
// The test's cleanup still ends the child of a test that ends in order.
func dieWithParent(*exec.Cmd) {}
