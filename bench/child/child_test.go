package child_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/redrive-dev/redrive/bench/child"
)

// TestMain lets the test binary be each of the children.
func TestMain(m *testing.M) {
	switch os.Getenv(child.Variable) {
	case "":
		os.Exit(m.Run())
	case child.RoleNATS:
		os.Exit(child.ServeNATS(context.Background(), os.Stdin, os.Stdout, os.Stderr))
	case "polite":
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin)
	case "signalled":
		ended := make(chan os.Signal, 1)
		signal.Notify(ended, syscall.SIGTERM, os.Interrupt)
		fmt.Println("ready")
		<-ended
	case "stubborn":
		fmt.Println("ready")
		select {}
	case "broken":
		fmt.Fprintln(os.Stderr, "no memory")
		os.Exit(3)
	}
}

const patience = 20 * time.Second

func start(t *testing.T, role string, signalled bool) *child.Process {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := child.Start(t.Context(), child.Command{Program: program, Env: []string{child.Variable + "=" + role}, Signal: signalled})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

func ready(t *testing.T, p *child.Process) {
	t.Helper()
	if line, err := p.Line(t.Context()); err != nil || line != "ready" {
		t.Fatalf("%q, %v", line, err)
	}
}

func TestAChildEndsWhenItIsAsked(t *testing.T) {
	for role, signalled := range map[string]bool{"polite": false, "signalled": true} {
		p := start(t, role, signalled)
		ready(t, p)
		if err := p.Stop(patience); err != nil {
			t.Errorf("%s: %v", role, err)
		}
	}
}

func TestAStubbornChildIsKilled(t *testing.T) {
	p := start(t, "stubborn", false)
	ready(t, p)
	if err := p.Stop(10 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "was killed") {
		t.Errorf("stop: %v", err)
	}
	<-p.Done()
}

func TestAChildThatEndsSaysWhy(t *testing.T) {
	p := start(t, "broken", false)
	if _, err := p.Line(t.Context()); err == nil || !strings.Contains(err.Error(), "no memory") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("its line: %v", err)
	}
}

func TestMemoryOfAProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("memory of a process is read on Linux alone")
	}
	now, peak, err := child.Memory(os.Getpid())
	if err != nil || now < 1 || peak < now {
		t.Errorf("%v MiB, at most %v, %v", now, peak, err)
	}
	if _, _, err := child.Memory(1 << 30); err == nil {
		t.Error("a process that does not exist has memory")
	}
}

func TestProcessorTimeGrows(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("processor time of a process is read on Linux alone")
	}
	before, err := child.ProcessorTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; {
		after, err := child.ProcessorTime(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if after > before {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("it stays %v while we work", after)
		}
	}
}

// TestWhatIsStoredSurvivesTheChangeOfSync is what runs with sync always rest on.
func TestWhatIsStoredSurvivesTheChangeOfSync(t *testing.T) {
	server, err := child.StartNATS(t.Context(), child.NATSConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	count := func(create bool) uint64 {
		t.Helper()
		nc, err := server.Connect()
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		if create {
			if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
				t.Fatal(err)
			}
			if _, err := js.Publish(t.Context(), "s", []byte("kept")); err != nil {
				t.Fatal(err)
			}
		}
		stream, err := js.Stream(t.Context(), "S")
		if err != nil {
			t.Fatal(err)
		}
		return stream.CachedInfo().State.Msgs
	}
	before := count(true)
	if server, err = server.Restart(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if after := count(false); before != 1 || after != 1 {
		t.Errorf("%d messages before, %d after", before, after)
	}
	if err := server.Stop(); err != nil {
		t.Error(err)
	}
}
