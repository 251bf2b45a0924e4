package httphandler

import (
	"net/http"
	"strings"
	"time"
)

// maxRetryAfter bounds what an endpoint can ask for, so that sums of times do not
// overflow. The retry policy has a lower limit of its own.
const maxRetryAfter = 365 * 24 * time.Hour

// parseRetryAfter reads the value of Retry-After: a number of seconds or a date,
// RFC 9110 section 10.2.3. The result is between 0 and a year; a date in the past
// is 0. It reports false for anything else.
func parseRetryAfter(value string, now time.Time) (time.Duration, bool) {
	value = strings.Trim(value, " \t")
	if value == "" {
		return 0, false
	}
	if strings.Trim(value, "0123456789") == "" {
		return parseSeconds(value), true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return min(max(at.Sub(now), 0), maxRetryAfter), true
}

// parseSeconds takes digits, however many.
func parseSeconds(digits string) time.Duration {
	const limit = int64(maxRetryAfter / time.Second)
	var n int64
	for _, d := range []byte(digits) {
		n = min(n*10+int64(d-'0'), limit)
	}
	return time.Duration(n) * time.Second
}
