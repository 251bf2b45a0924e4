package brokertest_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/brokertest"
	"github.com/redrive-dev/redrive/redrivetest"
	"github.com/redrive-dev/redrive/redrivetest/mutant"
)

// over returns a harness on in-memory brokers that are wrapped, one per case.
func over(wrap func(broker.Broker) broker.Broker, restart func(*redrivetest.Broker), opts ...redrivetest.Option) brokertest.Harness {
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
		Open: func(t brokertest.T) broker.Broker { return wrap(server(t).Client()) },
		Restart: func(t brokertest.T) {
			server(t).Restart()
			if restart != nil {
				restart(server(t))
			}
		},
		Link: func(t brokertest.T) (broker.Broker, brokertest.Link) {
			b, link := redrivetest.WithLink(server(t).Client())
			return wrap(b), link
		},
		PublishRaw: func(t brokertest.T, queue string, m broker.Message) { server(t).PublishRaw(queue, m) },
		Timeout:    time.Hour,
	}
}

// failing runs every case and returns the names of those that fail.
func failing(t *testing.T, h brokertest.Harness) []string {
	t.Helper()
	var names []string
	for _, c := range brokertest.Cases() {
		synctest.Test(t, func(t *testing.T) {
			if r := brokertest.Record(t.Context(), c, h); r.Failed() {
				names = append(names, c.Name)
			}
		})
	}
	return names
}

func TestMutantsAreCaught(t *testing.T) {
	caughtBy := map[string]string{
		mutant.AckFirst:           "C6-dead-letter-too-large",
		mutant.UnconfirmedPublish: "C6-dead-letter-too-large",
		mutant.TimestampedKey:     "C4-dead-letter-repeated",
		mutant.HistoryDropped:     "C2-retry-never-early",
		mutant.ReleaseAsCrash:     "release-carries-mark",
	}
	for _, name := range mutant.BrokerNames() {
		t.Run(name, func(t *testing.T) {
			got := failing(t, over(func(b broker.Broker) broker.Broker {
				bad, err := mutant.Wrap(name, b)
				if err != nil {
					t.Fatal(err)
				}
				return bad
			}, nil))
			if want, ok := caughtBy[name]; !ok || !slices.Contains(got, want) {
				t.Errorf("%s fails %q, want %q among them", name, got, want)
			}
		})
	}
}

// TestEverySabotageIsCaught runs the suite on adapters with one bug each. Every
// bug has to fail some case, and every case has to fail for some bug: a case that
// nothing fails shows nothing.
func TestEverySabotageIsCaught(t *testing.T) {
	if got := failing(t, over(func(b broker.Broker) broker.Broker { return b }, nil)); len(got) > 0 {
		t.Fatalf("a good broker fails %q", got)
	}
	useful := map[string][]string{}
	for _, s := range slices.Concat(contentSabotages(), publishSabotages(), moveSabotages(), deliverySabotages(), lifeSabotages(), linkSabotages(), reportSabotages()) {
		got := failing(t, over(func(b broker.Broker) broker.Broker { return &broken{b, &s} }, s.restart, s.opts...))
		if len(got) == 0 {
			t.Errorf("%q passes the suite", s.name)
		}
		t.Logf("%s: %s", s.name, strings.Join(got, ", "))
		for _, c := range got {
			useful[c] = append(useful[c], s.name)
		}
	}
	for _, c := range brokertest.Cases() {
		if len(useful[c.Name]) == 0 {
			t.Errorf("no bug fails case %s", c.Name)
		}
	}
}

func TestCasesAreNamed(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range brokertest.Cases() {
		if c.Name == "" || c.Promise == "" || seen[c.Name] {
			t.Errorf("case %q, %q: names are unique and nothing is empty", c.Name, c.Promise)
		}
		seen[c.Name] = true
	}
	if len(seen) < 25 {
		t.Errorf("%d cases, want at least 25", len(seen))
	}
	for _, id := range []string{"C1-", "C2-", "C3-", "C4-", "C5-", "C6-", "C7-", "C9-", "C10-", "C11-", "C12-", "C13-", "C14-", "C16-", "C17-"} {
		if !slices.ContainsFunc(brokertest.Cases(), func(c brokertest.Case) bool { return strings.HasPrefix(c.Name, id) }) {
			t.Errorf("no case %s", id)
		}
	}
}

func TestRecordCatchesPanics(t *testing.T) {
	h := brokertest.Harness{Open: func(brokertest.T) broker.Broker { panic("no broker") }}
	r := brokertest.Record(t.Context(), brokertest.Cases()[0], h)
	if !r.Failed() || !strings.Contains(r.String(), "no broker") {
		t.Errorf("got %v, want a failure that tells of the panic", r)
	}
}
