package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time, written as numbers with units: "100ms", "1m30s",
// "24h", "7d".
type Duration time.Duration

const day = 24 * time.Hour

// ParseDuration reads a duration. Units are ns, us, ms, s, m, h and d (24 hours,
// only in front). A number without a unit is refused, a negative one too.
func ParseDuration(s string) (Duration, error) {
	if s == "" {
		return 0, errors.New("is empty")
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return 0, fmt.Errorf("%q has no unit", s)
	}
	if strings.HasPrefix(s, "-") || strings.HasPrefix(s, "+") {
		return 0, fmt.Errorf("%q has a sign", s)
	}
	var days time.Duration
	rest := s
	if i := strings.IndexByte(s, 'd'); i > 0 {
		n, err := strconv.ParseUint(s[:i], 10, 32)
		if err != nil {
			return 0, fmt.Errorf("%q is not a duration", s)
		}
		if n > uint64(math.MaxInt64/day) {
			return 0, fmt.Errorf("%q is too long", s)
		}
		days, rest = time.Duration(n)*day, s[i+1:]
	}
	if rest == "" {
		return Duration(days), nil
	}
	d, err := time.ParseDuration(rest)
	switch {
	case err != nil, d < 0:
		return 0, fmt.Errorf("%q is not a duration", s)
	case d > math.MaxInt64-days:
		return 0, fmt.Errorf("%q is too long", s)
	}
	return Duration(days + d), nil
}

// String returns the duration in the form that ParseDuration reads, without
// empty parts: "10m" and never "10m0s".
func (d Duration) String() string {
	t := time.Duration(d)
	if t >= day && t%day == 0 {
		return strconv.FormatInt(int64(t/day), 10) + "d"
	}
	s := t.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Size is a number of bytes, written with a unit: "512MiB", "10GiB", "1GB".
type Size int64

// sizeUnits are in the order in which String tries them.
func sizeUnits() []struct {
	name  string
	bytes int64
} {
	return []struct {
		name  string
		bytes int64
	}{
		{"TiB", 1 << 40},
		{"GiB", 1 << 30},
		{"MiB", 1 << 20},
		{"KiB", 1 << 10},
		{"TB", 1e12},
		{"GB", 1e9},
		{"MB", 1e6},
		{"kB", 1e3},
		{"B", 1},
	}
}

// ParseSize reads a size: a whole number and a unit out of B, kB, MB, GB, TB
// (powers of 1000) and KiB, MiB, GiB, TiB (powers of 1024).
func ParseSize(s string) (Size, error) {
	if _, err := strconv.ParseFloat(s, 64); err == nil {
		return 0, fmt.Errorf("%q has no unit", s)
	}
	for _, u := range sizeUnits() {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 63)
		if err != nil {
			break
		}
		if int64(n) > math.MaxInt64/u.bytes {
			return 0, fmt.Errorf("%q is too large", s)
		}
		return Size(int64(n) * u.bytes), nil
	}
	return 0, fmt.Errorf("%q is not a size", s)
}

// String returns the size in the largest unit that divides it.
func (s Size) String() string {
	for _, u := range sizeUnits() {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return "0B"
}

// MarshalText implements encoding.TextMarshaler.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Path is the name of a file or folder. A relative one in a configuration file
// is relative to the folder of that file; elsewhere to the working directory.
type Path string
