// Package repolint holds tests about the repository itself, for rules that no
// linter knows: which package may import which, that what is exported is
// explained, that files and functions stay short, that every broker adapter runs
// the conformance suite, and that links in documents lead somewhere.
//
// There is nothing to import here. The checks find packages, adapters and
// documents in the tree as it is, so that what is added later is checked
// without a list to keep. CONTRIBUTING.md states the rules for people.
package repolint
