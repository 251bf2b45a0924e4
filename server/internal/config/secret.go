package config

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Redacted is what every Secret prints as.
const Redacted = "[redacted]"

const (
	maxSecret     = 64 << 10
	secretTimeout = 10 * time.Second
)

type secretKind uint8

const (
	secretNone secretKind = iota
	secretEnv
	secretFile
	secretCmd
	secretValue
)

// key is what a reference of the kind is written as.
func (k secretKind) key() string {
	switch k {
	case secretEnv:
		return "env"
	case secretFile:
		return "file"
	case secretCmd:
		return "cmd"
	case secretValue:
		return "value"
	case secretNone:
	}
	return ""
}

// Secret refers to a secret: a variable of the environment, a file, the output
// of a command, or, discouraged, a value in the file itself. It is a value and
// safe to copy. No way of printing or encoding it shows more than "[redacted]";
// only [Secret.Reveal] does. The zero Secret is "not set".
type Secret struct {
	kind secretKind
	// ref is behind a pointer because fmt prints the unexported fields of an
	// unexported field without asking any method; a pointer prints as an address.
	ref *string
}

// SecretFromEnv refers to a variable of the environment.
func SecretFromEnv(name string) Secret { return Secret{secretEnv, &name} }

// SecretFromFile refers to a file, whose trailing line break does not count.
func SecretFromFile(name string) Secret { return Secret{secretFile, &name} }

// SecretFromCommand refers to the standard output of a shell command, whose
// trailing line break does not count.
func SecretFromCommand(command string) Secret { return Secret{secretCmd, &command} }

// SecretFromValue holds the secret itself.
func SecretFromValue(value string) Secret { return Secret{secretValue, &value} }

// IsZero reports whether the secret is not set.
func (s Secret) IsZero() bool { return s.kind == secretNone }

// Equal reports whether both refer to the same secret in the same way.
func (s Secret) Equal(other Secret) bool {
	return s.kind == other.kind && (s.ref == nil) == (other.ref == nil) && (s.ref == nil || *s.ref == *other.ref)
}

// Source says where the secret comes from, without anything that is one itself:
// "env NATS_TOKEN", "file token.txt", "a command", "a literal value", or "".
func (s Secret) Source() string {
	switch s.kind {
	case secretEnv:
		return "env " + *s.ref
	case secretFile:
		return "file " + *s.ref
	case secretCmd:
		return "a command"
	case secretValue:
		return "a literal value"
	case secretNone:
	}
	return ""
}

// Reveal reads the secret. A command has ten seconds. An unset variable, an
// empty secret, one over 64 KiB and a failed command are errors; no error holds
// the secret, the command or what the command wrote. The zero Secret reveals "".
func (s Secret) Reveal(ctx context.Context) (string, error) {
	var (
		out string
		err error
	)
	switch s.kind {
	case secretNone:
		return "", nil
	case secretValue:
		out = *s.ref
	case secretEnv:
		out = os.Getenv(*s.ref)
		if out == "" {
			return "", fmt.Errorf("secret from env %s: the variable is not set or empty; export it before the start", *s.ref)
		}
	case secretFile:
		out, err = readSecretFile(*s.ref)
	case secretCmd:
		out, err = runSecretCommand(ctx, *s.ref)
	}
	if err != nil {
		return "", fmt.Errorf("secret from %s: %w", s.Source(), err)
	}
	out = strings.TrimSuffix(strings.TrimSuffix(out, "\n"), "\r")
	if out == "" {
		return "", fmt.Errorf("secret from %s: it is empty", s.Source())
	}
	return out, nil
}

func readSecretFile(name string) (string, error) {
	f, err := os.Open(name) //nolint:gosec // The operator's own setting names the file.
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", err
	}
	if len(data) > maxSecret {
		return "", fmt.Errorf("the file is larger than %s", Size(maxSecret))
	}
	return string(data), nil
}

func runSecretCommand(ctx context.Context, command string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, secretTimeout)
	defer cancel()
	shell, flag := "sh", "-c"
	if runtime.GOOS == "windows" {
		shell, flag = "cmd", "/C"
	}
	out := &limitedBuffer{left: maxSecret}
	cmd := exec.CommandContext(ctx, shell, flag, command) //nolint:gosec // The command is the operator's own setting.
	cmd.Stdout = out
	// A grandchild that keeps the pipe open must not outlive the deadline.
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	switch {
	case out.left < 0:
		return "", fmt.Errorf("the command wrote more than %s", Size(maxSecret))
	case ctx.Err() != nil:
		return "", fmt.Errorf("the command did not end: %w", context.Cause(ctx))
	case err != nil:
		return "", fmt.Errorf("the command failed (%w); run it by hand to see why", err)
	}
	return out.String(), nil
}

type limitedBuffer struct {
	strings.Builder
	left int
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errors.New("too much output")
	}
	return b.Builder.Write(p)
}

// String returns "[redacted]", or "" if the secret is not set.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return Redacted
}

// GoString returns the same as String, for %#v.
func (s Secret) GoString() string { return s.String() }

// Format prints the same as String for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText implements encoding.TextMarshaler with what String returns.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON returns what String returns, as a JSON string.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }

// MarshalYAML implements yaml.Marshaler with what String returns.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// LogValue implements slog.LogValuer with what String returns.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

var _ yaml.Marshaler = Secret{}
