// Package app puts redrive together and runs it: it is the one place where
// brokers, handlers, inboxes and workers meet.
//
//	cfg, err := app.Load(app.LoadOptions{File: "redrive.yaml"})
//	…
//	a, err := app.New(ctx, app.Options{Config: cfg.Config, Embedded: true})
//	…
//	err = a.Run(ctx)
//
// [New] does everything that can fail: it checks the configuration, reads
// secrets and schemas, connects the brokers, creates the queues that are missing
// and builds the workers. What it cannot do it reports all at once, and then
// nothing is left running. [App.Run] consumes until its context ends or
// [App.Stop] is called, and cleans up in the reverse order: workers first, so
// that what they decided is settled, then brokers, then the health endpoint.
//
// [Connect] opens a single broker for a command that only looks or publishes.
package app
