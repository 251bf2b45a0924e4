// Package disk is a disk whose power can be cut. It keeps two images of a tree of
// files: the live one, which programs see, and the durable one, which is what they
// would find after a power failure. A write changes the live image alone; a
// synchronisation brings what it covers into the durable one. Cut forgets the rest.
//
// # What is durable
//
// The bytes and the length of a file: after fsync or fdatasync of the file, and
// after each write through a descriptor that was opened with O_SYNC or O_DSYNC.
// Nothing is written by itself, however long ago it was written: a program cannot
// count on the seconds after which a real system would have.
//
// The names in a directory (files made, renamed, removed): after fsync of the
// directory. And the name of a file itself, with those of the folders above it,
// after fsync of the file: POSIX does not promise that, but ext4, XFS and btrfs do
// so, and programs rely on it. The name that a renamed file had before then goes at
// the same time. Nothing else about names becomes durable: a removed file is back
// after a cut, with the bytes it last had on disk, unless its directory was
// synchronised. That is harsher than the journal of these file systems, which
// writes earlier changes first.
//
// Bytes are dropped, never torn or altered: what was not synchronised is gone as a
// whole.
//
// # How it is used
//
// Mount puts a Disk into the tree of a Linux machine with FUSE, so that any program
// can work on it. Everything is in memory: it is for tests.
package disk
