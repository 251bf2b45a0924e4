package servertest

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds the start of a server, its download included.
const patience = 15 * time.Minute

// Server is a server for one test. Its methods fail the test on trouble and are for
// the test's own goroutine.
type Server struct {
	// URL is where clients connect, with credentials where the server asks for any:
	// host and port of Kafka, amqp://… of RabbitMQ, http://… of SQS.
	URL string
	// Version is what the server calls itself, such as "4.3.6".
	Version string
	// Settings holds what else e2e/servers/... env prints, by name: of Kafka sasl, tls
	// and sasl_tls, of RabbitMQ management and tls, of both ca, client_certificate and
	// client_key.
	Settings map[string]string

	tb       testing.TB
	instance *Instance
}

// Kafka runs a Kafka of one node.
func Kafka(tb testing.TB, options Options) *Server {
	tb.Helper()
	return Start(tb, KindKafka, options)
}

// RabbitMQ runs a RabbitMQ of the version "3.10", "4.0" or "4.3".
func RabbitMQ(tb testing.TB, version string, options Options) *Server {
	tb.Helper()
	return Start(tb, Kind{Program: "rabbitmq", Version: version}, options)
}

// SQS runs an ElasticMQ, which speaks the protocol of SQS.
func SQS(tb testing.TB, options Options) *Server {
	tb.Helper()
	return Start(tb, KindSQS, options)
}

// Start runs a server of the kind. A private one ends with the test.
func Start(tb testing.TB, kind Kind, options Options) *Server {
	tb.Helper()
	if options.Shared {
		if len(options.Config) > 0 {
			tb.Fatal("servertest: a shared server takes no configuration")
		}
		return shared(tb, kind)
	}
	unavailable(tb, missing(kind))
	instance, err := NewInstance(kind, options)
	unavailable(tb, err)
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	err = instance.Start(ctx)
	noteMissing(kind, err)
	unavailable(tb, err)
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the end of the log of %s: %s", kind, tail(instance.Settings["log"]))
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), 2*time.Minute)
		defer cancel()
		if err := instance.Stop(ctx); err != nil {
			tb.Errorf("stop %s: %v", kind, err)
		}
	})
	return wrap(tb, instance)
}

func wrap(tb testing.TB, instance *Instance) *Server {
	tb.Helper()
	return &Server{tb: tb, instance: instance, URL: instance.URL, Version: instance.Version, Settings: instance.Settings}
}

// Kill ends the server with SIGKILL and returns when it is gone. Its data stays.
func (s *Server) Kill() {
	s.tb.Helper()
	s.private()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.instance.Kill(ctx); err != nil {
		s.tb.Fatalf("kill the server: %v", err)
	}
}

// Restart starts a killed server on the same ports and data and returns when it
// answers.
func (s *Server) Restart() {
	s.tb.Helper()
	s.private()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := s.instance.Restart(ctx); err != nil {
		s.tb.Fatalf("restart the server: %v", err)
	}
	s.Settings = s.instance.Settings
}

func (s *Server) private() {
	s.tb.Helper()
	if s.instance.options.Shared {
		s.tb.Fatal("servertest: a shared server is not to be killed")
	}
}

// unavailable skips or fails the test, as the package documentation says, if there
// is an error.
func unavailable(tb testing.TB, err error) {
	tb.Helper()
	if err == nil {
		return
	}
	line := fmt.Sprintf("%v; run make servers-up", err)
	if os.Getenv("REDRIVE_REQUIRE_SERVERS") == "1" {
		tb.Fatal(line)
	}
	tb.Skip(line)
}

// What could not be had once is not tried again by each test of a process.
var (
	missingMu sync.Mutex
	missings  = map[Kind]error{}
)

func missing(kind Kind) error {
	missingMu.Lock()
	defer missingMu.Unlock()
	return missings[kind]
}

func noteMissing(kind Kind, err error) {
	missingMu.Lock()
	defer missingMu.Unlock()
	if err != nil {
		missings[kind] = err
	}
}

// shareds are the shared servers of this process, by kind.
var shareds sync.Map

// shared returns the server of the checkout if it is up, else one that this process
// has to itself and that ends with it: its owner's end is what removes it.
func shared(tb testing.TB, kind Kind) *Server {
	tb.Helper()
	once, _ := shareds.LoadOrStore(kind, sync.OnceValues(func() (*Instance, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), patience)
		defer cancel()
		return share(ctx, kind)
	}))
	find, ok := once.(func() (*Instance, error))
	if !ok {
		tb.Fatalf("servertest: unexpected %T", once)
	}
	instance, err := find()
	unavailable(tb, err)
	return wrap(tb, instance)
}

func share(ctx context.Context, kind Kind) (*Instance, error) {
	if elsewhere := fromEnvironment(kind); elsewhere != nil {
		return elsewhere, nil
	}
	common, err := newInstance(kind, Options{Shared: true}, "")
	if err != nil {
		return nil, err
	}
	if _, err := common.run(ctx, "status"); err == nil {
		return common, common.look(ctx)
	}
	own, err := NewInstance(kind, Options{})
	if err != nil {
		return nil, err
	}
	own.options.Shared = true
	return own, own.Start(ctx)
}

// fromEnvironment returns the server that variables such as REDRIVE_KAFKA_URL and
// REDRIVE_RABBITMQ_4_0_MANAGEMENT describe, or nil.
func fromEnvironment(kind Kind) *Instance {
	prefix := "REDRIVE_" + strings.NewReplacer("-", "_", ".", "_").Replace(strings.ToUpper(kind.String())) + "_"
	url := os.Getenv(prefix + "URL")
	if url == "" {
		return nil
	}
	settings := map[string]string{"url": url}
	if management := os.Getenv(prefix + "MANAGEMENT"); management != "" {
		settings["management"] = management
	}
	return &Instance{kind: kind, options: Options{Shared: true}, URL: url, Version: kind.Version, Settings: settings}
}

// tail returns the end of a file.
func tail(path string) string {
	const most = 4 << 10
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(content[max(0, len(content)-most):])
}
