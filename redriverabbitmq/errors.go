package redriverabbitmq

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/redrive-dev/redrive/broker"
)

var (
	errDisconnected = errors.New("not connected to the broker")
	errTimeout      = errors.New("no answer from the broker in time")
	errBlocked      = errors.New("the broker takes no messages: it is short of memory or disk")
)

// hasCode reports whether the server closed a channel or connection with one of
// the codes.
func hasCode(err error, codes ...int) bool {
	var e *amqp.Error
	if !errors.As(err, &e) {
		return false
	}
	return slices.Contains(codes, e.Code)
}

// unknown says that something may or may not have taken effect.
func unknown(what string, err error) error {
	if err == nil {
		return fmt.Errorf("%s: %w", what, broker.ErrUnknown)
	}
	return fmt.Errorf("%s: %w: %w", what, broker.ErrUnknown, err)
}

var messageSize = regexp.MustCompile(`message size \d+ is larger than (?:configured )?max(?:imum)? size (\d+)`)

// sizeLimit reads the server's limit from the reason with which it closed a
// channel.
func sizeLimit(err *amqp.Error) (int, bool) {
	if err == nil || err.Code != amqp.PreconditionFailed {
		return 0, false
	}
	m := messageSize.FindStringSubmatch(err.Reason)
	if m == nil {
		return 0, false
	}
	limit, e := strconv.Atoi(m[1])
	return limit, e == nil
}
