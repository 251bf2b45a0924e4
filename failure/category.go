package failure

import "fmt"

// Category says what kind of failure a message met. The set is closed: queue
// names, metric labels and rules are made of it.
type Category uint8

const (
	// None is the zero value: no failure.
	None Category = iota
	// Transient failures may go away by themselves: a timeout, a refused
	// connection, an overloaded downstream. They are retried.
	Transient
	// Schema failures are messages that do not have the expected form. The
	// same bytes fail again, so they are not retried.
	Schema
	// Business failures are messages that a business rule refuses. They are
	// not retried.
	Business
	// Integration failures are calls to another system that failed for good.
	// They are not retried.
	Integration
	// Crash is the category of a handler that panicked or whose process died.
	Crash
)

var categoryNames = [...]string{None: "", Transient: "transient", Schema: "schema", Business: "business", Integration: "integration", Crash: "crash"}

// Categories returns every category but None, in a fixed order.
func Categories() []Category {
	return []Category{Transient, Schema, Business, Integration, Crash}
}

// String returns the name on the wire, such as "transient"; the empty string
// for None.
func (c Category) String() string {
	if int(c) < len(categoryNames) {
		return categoryNames[c]
	}
	return fmt.Sprintf("category(%d)", uint8(c))
}

// Permanent reports whether a retry of the same message cannot help: Schema,
// Business and Integration.
func (c Category) Permanent() bool {
	return c == Schema || c == Business || c == Integration
}

// ParseCategory is the inverse of String. It refuses names it does not know.
func ParseCategory(name string) (Category, error) {
	for c, n := range categoryNames {
		if n == name {
			return Category(c), nil
		}
	}
	return None, fmt.Errorf("unknown failure category %q: want transient, schema, business, integration or crash", name)
}

// MarshalText implements encoding.TextMarshaler.
func (c Category) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *Category) UnmarshalText(text []byte) error {
	parsed, err := ParseCategory(string(text))
	if err != nil {
		return err
	}
	*c = parsed
	return nil
}
