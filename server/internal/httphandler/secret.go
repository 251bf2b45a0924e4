package httphandler

import (
	"fmt"
	"log/slog"
)

// Secret returns a secret value. It is called for every request, possibly by
// several goroutines at once, so one that reads a file or runs a command should
// cache. Its error must not contain the secret. Printed, logged or encoded in any
// way it is "[redacted]".
type Secret func() (string, error)

const redacted = "[redacted]"

// Static returns a Secret that is always value.
func Static(value string) Secret {
	return func() (string, error) { return value, nil }
}

// Format implements fmt.Formatter.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// String implements fmt.Stringer.
func (Secret) String() string { return redacted }

// MarshalText implements encoding.TextMarshaler, which JSON uses too.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
