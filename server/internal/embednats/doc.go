// Package embednats runs a NATS server with JetStream inside this process, so
// that redrive needs nothing else on one machine.
//
// The server listens on the loopback address only and wants a token, which lies
// beside its URL in the data directory, readable by the user alone: [Discover]
// is how other processes of the same user find it. One process at a time may
// have a data directory, which a lock enforces that the operating system gives
// up when the process ends, however it ends.
//
// Messages are synced to disk before they are confirmed unless Config.Sync says
// otherwise.
package embednats
