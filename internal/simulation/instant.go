package simulation

import (
	"time"
	"unsafe"
)

// instant makes a time as time.Now does on a machine whose wall clock shows wall
// and whose monotonic clock shows mono. Only such a time tells code that measures
// with the monotonic clock from code that trusts the wall clock, when the wall
// clock jumps; and the time package gives no way to make one. [layout] checks
// that the picture of time.Time below is right.
func instant(wall time.Time, mono int64) time.Time {
	const (
		hasMonotonic = 1 << 63
		nsecShift    = 30
		year1885     = -2682288000 // in Unix seconds
	)
	raw := rawTime{
		wall: hasMonotonic | uint64(wall.Unix()-year1885)<<nsecShift | uint64(wall.Nanosecond()), // in range from 1885 to 2157
		ext:  mono,
	}
	return *(*time.Time)(unsafe.Pointer(&raw)) //nolint:gosec // see layout
}

type rawTime struct {
	wall uint64
	ext  int64
	loc  *time.Location
}

// layout reports whether instant makes what it is meant to.
func layout() bool {
	wall := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	a, b := instant(wall, 1_000), instant(wall.Add(-time.Hour), 3_000)
	return unsafe.Sizeof(rawTime{}) == unsafe.Sizeof(time.Time{}) &&
		a.Round(0).Equal(wall) && a.Location() == time.UTC && b.Sub(a) == 2_000 && b.After(a) &&
		b.Round(0).Sub(a.Round(0)) == -time.Hour && a.Add(time.Second).Sub(b) == time.Second-2_000
}
