// Package failure says what went wrong with a message: categories, the errors
// by which a handler states its verdict, the classifier for all other errors,
// and the signature that groups failures with one cause.
package failure
