package redrivesqs

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/redrive-dev/redrive/broker"
)

var (
	errTimeout = errors.New("no answer from sqs in time")
	errMissing = errors.New("sqs answered without a word about this message")
)

// Codes of errors that the adapter decides on. A service may put the older query
// protocol's name before them, or one with a suffix.
const (
	codeInvalidReceipt = "ReceiptHandleIsInvalid"
	codeNotInFlight    = "MessageNotInflight"
	codeTooLong        = "MessageTooLong"
	codeBatchTooLong   = "BatchRequestTooLong"
	codeOverLimit      = "OverLimit"
	codeUnsupported    = "UnsupportedOperation"
	codeUnknownAction  = "UnknownOperationException"
	codeInvalidAction  = "InvalidAction"
	codeAccessDenied   = "AccessDenied"
)

// entryError is what SQS says about one entry of a batch.
type entryError struct {
	code, message string
	senderFault   bool
}

func (e *entryError) Error() string {
	if e.message == "" {
		return e.code
	}
	return e.code + ": " + e.message
}

func entryFailure(f types.BatchResultErrorEntry) error {
	e := &entryError{senderFault: f.SenderFault}
	if f.Code != nil {
		e.code = *f.Code
	}
	if f.Message != nil {
		e.message = *f.Message
	}
	return e
}

// codeOf returns the code of what SQS said, empty if it said nothing.
func codeOf(err error) string {
	code := ""
	var entry *entryError
	var api smithy.APIError
	switch {
	case errors.As(err, &entry):
		code = entry.code
	case errors.As(err, &api):
		code = api.ErrorCode()
	}
	return strings.TrimPrefix(code, "AWS.SimpleQueueService.")
}

func queueMissing(err error) bool {
	var missing *types.QueueDoesNotExist
	code := codeOf(err)
	return errors.As(err, &missing) || code == "NonExistentQueue" || code == "QueueDoesNotExist"
}

// leaseError explains why a receipt was refused: the message is somebody else's, or
// nobody's.
func leaseError(err error) error {
	switch code := codeOf(err); {
	case code == codeInvalidReceipt, code == codeNotInFlight,
		code == "InvalidParameterValue" && strings.Contains(strings.ToLower(err.Error()), "receipt handle"):
		return fmt.Errorf("%w: %w", broker.ErrLeaseLost, err)
	}
	return err
}

// writeError tells whether a message may be stored although there was an error. Only
// what SQS itself refused is certain not to be.
func writeError(err error, size int) error {
	var api smithy.APIError
	var entry *entryError
	switch code := codeOf(err); {
	case err == nil:
		return nil
	case queueMissing(err):
		return fmt.Errorf("%w: %w", broker.ErrUnroutable, err)
	case code == codeTooLong, code == codeBatchTooLong,
		strings.Contains(err.Error(), codeTooLong), strings.Contains(err.Error(), "must be shorter than"):
		return &broker.TooLargeError{Size: size, Limit: min(maxMessage, size-1)}
	case code == codeOverLimit:
		return fmt.Errorf("%w: %w", broker.ErrFull, err)
	case errors.As(err, &entry) && entry.senderFault:
		return err
	case errors.As(err, &api) && api.ErrorFault() == smithy.FaultClient:
		return err
	case errors.Is(err, errNotSent):
		return err
	}
	return fmt.Errorf("%w: %w", broker.ErrUnknown, err)
}

// errNotSent marks a request that did not leave this process.
var errNotSent = errors.New("not sent")

// cause names the reason for which a context ended.
func cause(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return ctx.Err()
}
