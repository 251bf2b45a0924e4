package redrivetest_test

import (
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/brokertest"
	"github.com/redrive-dev/redrive/internal/workertest"
	"github.com/redrive-dev/redrive/redrivetest"
)

// harness gives each case an in-memory broker of its own, in a bubble where
// waiting takes no time.
func harness(opts ...redrivetest.Option) brokertest.Harness {
	var mu sync.Mutex
	servers := map[string]*redrivetest.Broker{}
	server := func(t brokertest.T) *redrivetest.Broker {
		mu.Lock()
		defer mu.Unlock()
		if servers[t.Name()] == nil {
			servers[t.Name()] = redrivetest.NewBroker(opts...)
		}
		return servers[t.Name()]
	}
	return brokertest.Harness{
		Open: func(t brokertest.T) broker.Broker {
			b := server(t).Client()
			t.Cleanup(func() {
				if err := b.Close(t.Context()); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			return b
		},
		Restart: func(t brokertest.T) { server(t).Restart() },
		Kill: func(_ brokertest.T, b broker.Broker) {
			if c, ok := b.(*redrivetest.Broker); ok {
				c.Kill()
			}
		},
		Refuse: func(t brokertest.T, queue string) func() {
			server(t).Refuse(queue, broker.ErrFull)
			return func() { server(t).Refuse(queue, nil) }
		},
		Link: func(t brokertest.T) (broker.Broker, brokertest.Link) {
			return redrivetest.WithLink(server(t).Client())
		},
		PublishRaw: func(t brokertest.T, queue string, m broker.Message) { server(t).PublishRaw(queue, m) },
		Around:     synctest.Test,
	}
}

func TestConformance(t *testing.T) { brokertest.Run(t, harness()) }

// TestConformanceOfWorkers runs workers on it.
func TestConformanceOfWorkers(t *testing.T) {
	brokertest.RunCases(t, harness(), workertest.Cases())
}

// TestConformanceInRealTime runs cases without a bubble, as an adapter for a
// server does: a few that hardly wait, or all of them with REDRIVE_FULL=1.
func TestConformanceInRealTime(t *testing.T) {
	t.Parallel()
	h := harness()
	h.Around = nil
	h.Lease = 300 * time.Millisecond
	if os.Getenv("REDRIVE_FULL") == "1" {
		brokertest.Run(t, h)
		return
	}
	few := []string{"publish-confirms-each", "C2-retry-of-a-retry", "C5-dead-letter", "C13-stats", "concurrent-receives"}
	for _, c := range brokertest.Cases() {
		if slices.Contains(few, c.Name) {
			t.Run(c.Name, func(t *testing.T) {
				t.Parallel()
				c.Run(t, h)
			})
		}
	}
}

// TestConformanceOfWeakerBrokers takes capabilities away one by one: the suite
// then asserts that they are refused.
func TestConformanceOfWeakerBrokers(t *testing.T) {
	weaker := map[string]func(*broker.Caps){
		"NoMarks":     func(c *broker.Caps) { c.Marks = false },
		"CountNone":   func(c *broker.Caps) { c.Count = broker.CountNone },
		"CountFlag":   func(c *broker.Caps) { c.Count = broker.CountFlag },
		"NoIdentity":  func(c *broker.Caps) { c.StableIdentity = false },
		"NoDedupe":    func(c *broker.Caps) { c.DedupeWindow = 0 },
		"NoRelease":   func(c *broker.Caps) { c.MaxRelease = 0 },
		"ShortDelays": func(c *broker.Caps) { c.MaxDelay = time.Hour },
		"NoLimit":     func(c *broker.Caps) { c.MaxMessage = 0 },
		"PeekCounts":  func(c *broker.Caps) { c.LettersMode = broker.PeekCounts },
		"OneGroup":    func(c *broker.Caps) { c.OneGroup = true },
		"DrainOnly":   func(c *broker.Caps) { c.LettersMode = broker.DrainOnly },
		"NothingAtAll": func(c *broker.Caps) {
			*c = broker.Caps{Server: "weakest", LettersMode: broker.DrainOnly}
		},
	}
	for name, edit := range weaker {
		t.Run(name, func(t *testing.T) { brokertest.Run(t, harness(redrivetest.WithCaps(edit))) })
	}
	t.Run("DeclaredQueues", func(t *testing.T) { brokertest.Run(t, harness(redrivetest.WithDeclaredQueues())) })
}
