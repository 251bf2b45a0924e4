// Package cli is the command line of redrive.
//
// [Main] runs one command line and returns its exit code. Each command is a
// function in a file of its own that takes the [App] and returns a cobra
// command; [App] carries everything that commands need from outside, so that
// they can be run in tests, and so that this package imports no broker and no
// store.
//
// The manners, for every command:
//
//   - Data goes to standard output; progress, prompts, warnings and errors go to
//     standard error.
//   - -o chooses table, wide, json, yaml, jsonl or name. Tables are for people and
//     may change. JSON has snake_case keys and times in UTC, RFC 3339.
//   - Nothing is coloured off a terminal, with NO_COLOR, TERM=dumb or --no-color.
//   - A question is asked on a terminal only. Elsewhere it is an error that names
//     --yes, and never a hang.
//   - An error is "error: what is wrong", then "hint: what to do", and an exit code
//     of the list in exit.go.
package cli

//go:generate go run ./clidoc -out ../../../docs/reference/commands.md
