package redrivenats

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/redrive-dev/redrive/broker"
)

var (
	errNoResponders = errors.New("no server answers: the stream or consumer is missing, or JetStream is starting")
	errTimeout      = errors.New("no confirmation from nats")
	errDisconnected = errors.New("disconnected")
)

// Codes of the JetStream API that the adapter decides on.
const (
	codeResourcesExceeded = 10002
	codeInsufficient      = 10023
	codeMemoryExceeded    = 10028
	codeConsumerNotFound  = 10014
	codeNoMessage         = 10037
	codeSequenceNotFound  = 10043
	codeStorageExceeded   = 10047
	codeNoPeers           = 10005
	codeNotClustered      = 10074
	codeMessageTooLarge   = 10054
	codeNameInUse         = 10058
	codeStreamNotFound    = 10059
	codeSubjectOverlap    = 10065
	codeStoreFailed       = 10077
	codeHeaderTooLarge    = 10097
	codeWorkQueueTaken    = 10100
	codeWrongSequence     = 10071
	// A stream with replicas answers with another code.
	codeWrongSequenceReplicated = 10164
)

// hasCode reports whether err is an API error with one of the codes.
func hasCode(err error, codes ...jetstream.ErrorCode) bool {
	var api jetstream.JetStreamError
	if !errors.As(err, &api) || api.APIError() == nil {
		return false
	}
	for _, code := range codes {
		if api.APIError().ErrorCode == code {
			return true
		}
	}
	return false
}

// storeError explains why the server did not store a message.
func storeError(err *jetstream.APIError, m *nats.Msg) error {
	switch err.ErrorCode {
	case codeMessageTooLarge:
		return &broker.TooLargeError{Size: headerSize(m.Header) + len(m.Data)}
	case codeHeaderTooLarge:
		return &broker.TooLargeError{Size: headerSize(m.Header), Limit: maxHeaderBlock}
	case codeResourcesExceeded, codeInsufficient, codeMemoryExceeded, codeStorageExceeded, codeStoreFailed:
		return fmt.Errorf("stream behind %q takes no more: %w: %w", m.Subject, broker.ErrFull, err)
	}
	return fmt.Errorf("stream behind %q refused the message: %w", m.Subject, err)
}
