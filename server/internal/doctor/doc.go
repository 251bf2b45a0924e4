// Package doctor looks at everything that an installation needs and says what is
// wrong with it, one line for each thing, with what to do.
//
// Looking is safe: it writes no file, creates no queue, sends no request to a
// handler and takes no message. It works while redrive runs and while it does not.
//
// A check fails if redrive would not start, or messages would be lost; it warns
// about what makes things worse or soon will.
package doctor
