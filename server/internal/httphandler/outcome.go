package httphandler

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/redrive-dev/redrive/failure"
)

// headerCategory is the response header by which an endpoint says itself what
// its answer means.
const headerCategory = "Redrive-Category"

// StatusError is an answer that did not say that the message was handled.
type StatusError struct {
	// Status is the HTTP status.
	Status int
	// Message is the beginning of the response body, at most 2,048 bytes of valid
	// UTF-8 without control characters or secrets; the name of the status if the
	// body was empty.
	Message string
}

// Error returns the status and the message, "http 422: no such customer".
func (e *StatusError) Error() string { return e.ErrorType() + ": " + e.Message }

// ErrorType names the kind of error for classification and grouping, "http 422".
func (e *StatusError) ErrorType() string { return "http " + strconv.Itoa(e.Status) }

// verdict is what an answer means. The values are the names that people write.
type verdict string

const (
	done           verdict = "done"
	transient      verdict = "transient"
	transientLocal verdict = "transient-local"
	throttled      verdict = "throttled"
	schema         verdict = "schema"
	business       verdict = "business"
	integration    verdict = "integration"
	quarantine     verdict = "quarantine"
)

func verdictNames() []string {
	return []string{
		string(done), string(transient), string(transientLocal), string(throttled),
		string(schema), string(business), string(integration), string(quarantine),
	}
}

func parseVerdict(name string) (verdict, bool) {
	switch v := verdict(strings.ToLower(strings.TrimSpace(name))); v {
	case done, transient, transientLocal, throttled, schema, business, integration, quarantine:
		return v, true
	}
	return "", false
}

// defaultVerdict is what a status means when nobody says otherwise.
func defaultVerdict(status int, retryAfter bool) verdict {
	switch status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return schema
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusLocked, http.StatusTooEarly:
		return transientLocal
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusProxyAuthRequired:
		return transient
	case http.StatusTooManyRequests:
		return throttled
	case http.StatusServiceUnavailable:
		if retryAfter {
			return throttled
		}
	}
	switch status / 100 {
	case 2:
		return done
	case 4:
		return business
	}
	return transient
}

// decide picks the verdict: the endpoint's own word, else the configured status,
// else its configured class, else the default.
func decide(status int, header http.Header, retryAfter bool, statuses map[string]string) verdict {
	if v, ok := parseVerdict(header.Get(headerCategory)); ok {
		return v
	}
	code := strconv.Itoa(status)
	if v, ok := parseVerdict(statuses[code]); ok {
		return v
	}
	if v, ok := parseVerdict(statuses[code[:1]+"xx"]); ok {
		return v
	}
	return defaultVerdict(status, retryAfter)
}

// outcome turns an answer into what Handle returns. It is pure; message is made
// only if there is an error to carry it.
func outcome(status int, header http.Header, statuses map[string]string, now time.Time, message func() string) error {
	wait, asked := parseRetryAfter(header.Get("Retry-After"), now)
	v := decide(status, header, asked, statuses)
	if v == done {
		return nil
	}
	err := mark(v, defaultVerdict(status, false), &StatusError{Status: status, Message: message()}, wait)
	if asked && (v == transient || v == transientLocal) {
		return failure.RetryAfter(wait, err)
	}
	return err
}

// mark wraps err with the marker of v. base is what the status means by itself:
// the category under which a message is quarantined.
func mark(v, base verdict, err error, wait time.Duration) error {
	switch v {
	case schema:
		return failure.AsSchema(err)
	case business:
		return failure.AsBusiness(err)
	case integration:
		return failure.AsIntegration(err)
	case throttled:
		return failure.Throttled(wait, err)
	case transientLocal:
		return failure.Local(failure.AsTransient(err))
	case quarantine:
		if base == done {
			base = business
		}
		if base == throttled || base == transientLocal {
			base = transient
		}
		return failure.Quarantine(mark(base, base, err, wait))
	case done, transient:
	}
	return failure.AsTransient(err)
}
