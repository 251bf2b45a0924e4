package report

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
)

// ThisMachine describes the machine. What it does not tell is "unknown".
func ThisMachine(dir string) Machine {
	return Machine{
		CPU: field("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(), MemoryGiB: memory(),
		Kernel: first("/proc/sys/kernel/osrelease"), System: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(),
		Disk: disk(dir), Load: load(),
	}
}

const unknown = "unknown"

func first(path string) string {
	raw, err := os.ReadFile(path) //nolint:gosec // of the kernel
	if err != nil {
		return unknown
	}
	return strings.TrimSpace(string(raw))
}

// field reads the first line with a name from a file of the kernel.
func field(path, name string) string {
	for line := range strings.Lines(first(path)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return unknown
}

func memory() float64 {
	kib, err := strconv.ParseFloat(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"), 64)
	if err != nil {
		return 0
	}
	return kib / (1 << 20)
}

func load() string {
	average, _, _ := strings.Cut(first("/proc/loadavg"), " ")
	return average
}

// disk finds the file system of a folder: the last mount whose path begins it.
func disk(dir string) string {
	best, kind := "", unknown
	for line := range strings.Lines(first("/proc/mounts")) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		at := strings.TrimSuffix(fields[1], "/") + "/"
		if strings.HasPrefix(dir+"/", at) && len(at) >= len(best) {
			best, kind = at, fields[2]
		}
	}
	return kind
}

// measured are the modules whose versions the page shows.
func measured() []string {
	return []string{
		"github.com/sony/gobreaker/v2", "github.com/failsafe-go/failsafe-go", "github.com/mercari/go-circuitbreaker",
		"github.com/cenkalti/backoff/v5", "github.com/ThreeDotsLabs/watermill", "github.com/ThreeDotsLabs/watermill-nats/v2",
		"github.com/sony/gobreaker", "github.com/nats-io/nats-server/v2", "github.com/nats-io/nats.go",
		"github.com/twmb/franz-go", "github.com/rabbitmq/amqp091-go", "github.com/aws/aws-sdk-go-v2/service/sqs",
	}
}

// Versions are those that this program was built with.
func Versions() []Version {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	var out []Version
	for _, name := range measured() {
		version := unknown
		for _, d := range info.Deps {
			if d.Path == name {
				version = d.Version
			}
		}
		out = append(out, Version{name, version})
	}
	return out
}

// Commit is the commit that is checked out, with a mark if files differ from it;
// empty if git does not tell.
func Commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--exclude", "*").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
