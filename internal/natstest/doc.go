// Package natstest runs a real nats-server as a child process, so that a test
// can kill it at any instant and start it again on the same port and data.
//
// The binary is taken from REDRIVE_NATS_SERVER, else built once into
// .cache/bin from the version that the workspace pins, else looked up in PATH.
// A machine on which none of these works skips the test with a line that says
// so; with REDRIVE_REQUIRE_SERVERS=1 the test fails instead.
package natstest
