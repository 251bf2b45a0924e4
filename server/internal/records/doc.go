// Package records reads the messages that a file holds: the elements of a JSON
// array, the lines of an NDJSON file, or the file as one message.
//
// Records are handed over one by one, so that a file of any size takes the memory
// of its largest record, and the bytes of each are those of the file: nothing is
// decoded and encoded again, so numbers keep their digits.
package records
