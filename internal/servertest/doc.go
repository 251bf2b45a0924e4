// Package servertest runs the real servers of e2e/servers, so that a test, a
// benchmark or a torture run can use one, kill it at any instant and start it again
// on the same ports and data.
//
// A server is private by default: it has ports and data of its own, ends with the
// test, and also when the test process dies. A shared one is for tests that neither
// kill nor reconfigure it.
//
// A server that cannot be had, because there is no Java or no root for instance,
// skips the test with a line that says why; with REDRIVE_REQUIRE_SERVERS=1 the test
// fails instead.
package servertest
