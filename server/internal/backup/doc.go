// Package backup writes a data directory to one file and brings it back.
//
// # What is in a backup
//
// [Write] copies the files of a data directory that nobody uses: it holds the
// lock of the embedded broker while it reads. The streams are copied as they lie
// on the disk, because what the broker itself offers as a snapshot loses two
// things. A restored snapshot has a new creation time, which is part of the
// identity of every message that was never moved, so that an inbox would no longer
// know what it has handled. And it ends at the sequence number at which it began,
// so that a retry that fails again meanwhile is in neither half: deleted before it
// is read, and its successor too new.
//
// The databases are copied after the streams. A message that a database calls
// handled and that is still in a stream is recognised as a duplicate; the other
// order would lose the memory of a message that is gone.
//
// The lock, the token and the address of the broker are left out. A restored
// directory gets a token of its own at its first start.
//
// # The file
//
// A backup is a gzipped tar: a header that says what it is, the folder data, the
// folder config with the configuration files, and a manifest with the size and the
// SHA-256 of every file. The manifest comes last, so a file that was cut off has
// none.
//
// [Restore] reads all of it and compares every sum before it writes anything, then
// writes a folder beside the data directory and renames it.
package backup
