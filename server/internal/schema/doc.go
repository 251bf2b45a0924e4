// Package schema checks message bodies against a JSON Schema before a handler
// sees them.
//
// [Load] reads a schema from a file, [Compile] takes one from memory, and
// [Validator.Validate] checks a body. A body that does not match is refused with
// an error that package failure classifies as schema: the same bytes fail again,
// so the message is dead-lettered and not retried.
//
// # Dialects
//
// Schemas are draft 2020-12 unless their $schema names draft 4, 6, 7 or 2019-09.
// As these drafts say, format is only checked by drafts 4 to 7; from 2019-09 on it
// is an annotation. Patterns are Go regular expressions, which take time linear in
// the body and have no look-around.
//
// # What a schema can refer to
//
// A $ref may name another file in the folder of the schema, or below it. Nothing is
// ever fetched: a reference to anything else, also by a symbolic link, stops the
// start. A schema with an $id such as https://example.com/schemas/order.json may
// refer to its neighbours by URLs under https://example.com/schemas/, which are
// read from the folder.
//
// # What a failure says
//
// The text of an error names the first three failing places, sorted, and what is
// wrong with them, but nothing of the body:
//
//	body does not match order.json: $.customer: required (id); $.items[].price: type (want number)
//
// Indices, and the names of properties that the schema does not name, are left out,
// so that equal mistakes have equal texts and form one failure group. [Error] has
// the full paths.
//
// # Numbers
//
// Numbers are compared as they are written, never rounded: 64-bit integers and
// longer ones stay exact. A number of more than 1,000 characters, or with an
// exponent beyond ±1,000, is refused, and so are many of the latter kind and nesting
// deeper than [MaxDepth].
package schema
