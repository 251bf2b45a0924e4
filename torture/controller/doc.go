// Package controller makes a run: it starts a broker and workers as processes of
// their own, publishes, kills workers, lets the rest be worked off, reads what is
// left, and hands everything to the checker.
//
// It kills only what it started, by process id; every process listens on the
// loopback address alone and dies with the controller; everything is in one folder
// that is removed at the end; and a run ends after a fixed time, come what may.
package controller
