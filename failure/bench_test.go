package failure_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redrive-dev/redrive/failure"
)

func benchmarkErrors() map[string]error {
	var v struct{ Total int }
	return map[string]error{
		"plain":   errors.New("no stock"),
		"wrapped": fmt.Errorf("charge: %w", fmt.Errorf("call: %w", &os.SyscallError{Syscall: "connect", Err: syscall.ECONNREFUSED})),
		"json":    fmt.Errorf("decode order: %w", json.Unmarshal([]byte(`{"Total":"x"}`), &v)),
		"marked":  failure.RetryAfter(time.Second, failure.Local(fmt.Errorf("lock: %w", os.ErrDeadlineExceeded))),
		"joined":  errors.Join(errors.New("a"), failure.AsSchema(errors.New("b"))),
	}
}

func BenchmarkClassify(b *testing.B) {
	for name, err := range benchmarkErrors() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				failure.Classify(err)
			}
		})
	}
}

func BenchmarkNormalise(b *testing.B) {
	messages := map[string]string{
		"50":   "dial tcp 10.0.3.17:5432: connect: connection refused",
		"200":  strings.Repeat("order 81723 for customer cus_NffrFeUfNV2Hib failed after 1m30.5s at 2024-01-05T12:00:00Z: ", 3)[:200],
		"2048": strings.Repeat("ab 12 /x/y 'q' fe80::1 ", 100)[:2048],
	}
	for name, message := range messages {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				failure.Normalise(message)
			}
		})
	}
}

func BenchmarkSignature(b *testing.B) {
	in := failure.SignatureInput{
		Source: "orders", Category: failure.Transient, Type: "syscall.ECONNREFUSED",
		Message: "dial tcp 10.0.3.17:5432: connect: connection refused",
	}
	b.ReportAllocs()
	for b.Loop() {
		failure.Signature(in)
	}
}
