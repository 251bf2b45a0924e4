package retry

import (
	"fmt"
	"strings"
)

// Backoff is the formula by which delays grow with the attempts. The zero value
// is Exponential.
type Backoff uint8

const (
	// Exponential multiplies: Base, Base·Multiplier, Base·Multiplier², …
	Exponential Backoff = iota
	// Linear adds: Base, 2·Base, 3·Base, …
	Linear
	// Fixed stays at Base.
	Fixed
	// Immediate does not wait at all, whatever the jitter. Its name is "none".
	Immediate
)

// Jitter is how chance is applied to the value v of the formula. The zero value
// is Full. Full, Equal and Decorrelated are the formulas of "Exponential Backoff
// and Jitter" in the AWS Architecture Blog.
type Jitter uint8

const (
	// Full draws from [0, v].
	Full Jitter = iota
	// Equal draws from [v/2, v].
	Equal
	// Decorrelated draws from [Base, 3·previous] and cuts at Max. It grows from the
	// delay that was used before and so takes the place of the formula, except of
	// Immediate. It finishes a little sooner than Full and does about a quarter more
	// work.
	Decorrelated
	// Random draws from [v/2, 3v/2) and cuts at Max, so that delays at the cap are
	// exactly Max half of the time. Full spreads better.
	Random
	// NoJitter uses v as it is. Messages that fail together come back together.
	// Its name is "none".
	NoJitter
)

var (
	backoffNames = [...]string{Exponential: "exponential", Linear: "linear", Fixed: "fixed", Immediate: "none"}
	jitterNames  = [...]string{Full: "full", Equal: "equal", Decorrelated: "decorrelated", Random: "random", NoJitter: "none"}
)

// String returns "exponential", "linear", "fixed" or "none".
func (b Backoff) String() string {
	if int(b) < len(backoffNames) {
		return backoffNames[b]
	}
	return fmt.Sprintf("backoff(%d)", uint8(b))
}

// MarshalText implements encoding.TextMarshaler. It refuses values that are no
// backoff.
func (b Backoff) MarshalText() ([]byte, error) {
	if int(b) >= len(backoffNames) {
		return nil, unknownName("backoff", b.String(), backoffNames[:])
	}
	return []byte(b.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler. It takes the names of String
// and refuses all others.
func (b *Backoff) UnmarshalText(text []byte) error {
	for i, name := range backoffNames {
		if name == string(text) {
			*b = Backoff(i)
			return nil
		}
	}
	return unknownName("backoff", string(text), backoffNames[:])
}

// String returns "full", "equal", "decorrelated", "random" or "none".
func (j Jitter) String() string {
	if int(j) < len(jitterNames) {
		return jitterNames[j]
	}
	return fmt.Sprintf("jitter(%d)", uint8(j))
}

// MarshalText implements encoding.TextMarshaler. It refuses values that are no
// jitter.
func (j Jitter) MarshalText() ([]byte, error) {
	if int(j) >= len(jitterNames) {
		return nil, unknownName("jitter", j.String(), jitterNames[:])
	}
	return []byte(j.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler. It takes the names of String
// and refuses all others.
func (j *Jitter) UnmarshalText(text []byte) error {
	for i, name := range jitterNames {
		if name == string(text) {
			*j = Jitter(i)
			return nil
		}
	}
	return unknownName("jitter", string(text), jitterNames[:])
}

func unknownName(what, got string, names []string) error {
	return fmt.Errorf("unknown %s %q: want one of %s", what, got, strings.Join(names, ", "))
}
