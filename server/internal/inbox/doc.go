// Package inbox opens the inbox that the server keeps for itself: a SQLite file
// in the data directory. It serves subscriptions whose handlers are reached over
// HTTP and that name no inbox of their own.
package inbox
