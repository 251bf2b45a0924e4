package redriverabbitmq_test

import (
	"testing"

	"github.com/redrive-dev/redrive/brokertest"
	"github.com/redrive-dev/redrive/internal/workertest"
	"github.com/redrive-dev/redrive/redriverabbitmq"
)

func over10(c *config) { c.Protocol = redriverabbitmq.Protocol10 }

// nativeVersions is versions without those that do not speak AMQP 1.0 by themselves.
func nativeVersions(usual ...string) []string {
	var out []string
	for _, version := range versions(usual...) {
		if version != "3.10" {
			out = append(out, version)
		}
	}
	return out
}

// TestConformanceOverAMQP10 runs the suite over AMQP 1.0 on the real servers.
func TestConformanceOverAMQP10(t *testing.T) {
	for _, version := range nativeVersions("4.0") {
		t.Run(version, func(t *testing.T) {
			brokertest.Run(t, newRig(t, version, over10).harness())
		})
	}
}

// TestConformanceOfWorkersOverAMQP10 runs workers over AMQP 1.0 on the real servers.
func TestConformanceOfWorkersOverAMQP10(t *testing.T) {
	if len(nativeVersions()) == 0 {
		t.Skip("takes minutes on each version: set REDRIVE_FULL=1, or REDRIVE_RABBITMQ to versions")
	}
	for _, version := range nativeVersions() {
		t.Run(version, func(t *testing.T) {
			brokertest.RunCases(t, newRig(t, version, over10).harness(), workertest.Cases())
		})
	}
}

// settlement10 finds the first frame of AMQP 1.0 with a disposition, -1 if there is
// none.
func settlement10(p []byte) int {
	for i := 0; i+11 <= len(p); {
		size := int(p[i])<<24 | int(p[i+1])<<16 | int(p[i+2])<<8 | int(p[i+3])
		if p[i+4] < 2 || p[i+5] > 1 || size < 8 {
			return -1
		}
		if p[i+5] == 0 && p[i+8] == 0 && p[i+9] == 0x53 && p[i+10] == 0x15 {
			return i
		}
		i += size
	}
	return -1
}
