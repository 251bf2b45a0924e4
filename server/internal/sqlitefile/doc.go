// Package sqlitefile opens SQLite databases in the data directory so that what
// commits survives a crash of the process and of the machine.
package sqlitefile
