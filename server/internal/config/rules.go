package config

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/failure"
)

func (k *checker) admin(a Admin) {
	_, port, err := net.SplitHostPort(a.Listen)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		k.broken("admin.listen", quoted(a.Listen)+" is not an address to listen on", "write host:port, such as 127.0.0.1:9090")
	}
}

// policy checks the settings of one policy against each other.
func (k *checker) policy(p Policy, path string) {
	at := func(keys string) string { return path + "." + keys }
	less := func(small, large string, ok bool, smallValue, largeValue any) {
		if !ok {
			k.broken(at(small), fmt.Sprintf("%v is above %s, which is %v", smallValue, large, largeValue), "lower it, or raise "+large, at(large))
		}
	}
	less("concurrency", "max_in_flight", p.Concurrency <= p.MaxInFlight, p.Concurrency, p.MaxInFlight)
	less("retry.base", "retry.max", p.Retry.Base <= p.Retry.Max, p.Retry.Base, p.Retry.Max)
	less("breaker.recovery", "breaker.recovery_max", p.Breaker.Recovery <= p.Breaker.RecoveryMax, p.Breaker.Recovery, p.Breaker.RecoveryMax)
	less("breaker.probes", "concurrency", p.Breaker.Probes <= p.Concurrency, p.Breaker.Probes, p.Concurrency)
	less("lone_hold", "retry.max_age", p.LoneHold <= p.Retry.MaxAge, p.LoneHold, p.Retry.MaxAge)
	k.tiers(p, at("retry"))
	if p.IdempotencyHeader != "" && !headerName(p.IdempotencyHeader) {
		k.broken(at("idempotency_header"), quoted(p.IdempotencyHeader)+" is not the name of a header", `use letters, digits and "-", such as X-Event-Id`)
	}
	if p.Poison.Threshold > p.Retry.Attempts && k.isSet(at("poison.threshold")) {
		k.warn(at("poison.threshold"),
			fmt.Sprintf("%d is above retry.attempts, which is %d: only a message that was replayed can reach it", p.Poison.Threshold, p.Retry.Attempts),
			"lower it to at most the attempts", at("retry.attempts"))
	}
	if p.Lease < p.HandlerTimeout && (k.isSet(at("lease")) || k.isSet(at("handler_timeout"))) {
		k.warn(at("lease"),
			fmt.Sprintf("%v is below handler_timeout, which is %v: a process that cannot reach the broker for a lease loses a message that its handler still runs on, and it runs twice", p.Lease, p.HandlerTimeout),
			"raise it to at least handler_timeout, unless handlers are idempotent", at("handler_timeout"))
	}
	if p.Breaker.Consecutive < 0 && p.Breaker.FailureRate < 0 {
		k.warn(at("breaker"), "both rules are off, so the breaker opens only when the downstream asks for less traffic: an outage uses up attempts",
			"keep consecutive or failure_rate", at("breaker.consecutive"), at("breaker.failure_rate"))
	}
}

func (k *checker) tiers(p Policy, path string) {
	tiers := p.Retry.Tiers
	for i, t := range tiers {
		at := indexPath(keyPath(path, "tiers"), i)
		if t.To != 0 && t.To < t.From {
			k.broken(keyPath(at, "to"), fmt.Sprintf("%d is below from, which is %d", t.To, t.From), "raise it, or remove it for no end", keyPath(at, "from"))
			continue
		}
		// What the tier inherits was checked where it stands.
		if t.Base > t.Max && (t.Base != p.Retry.Base || t.Max != p.Retry.Max) {
			k.broken(keyPath(at, "base"), fmt.Sprintf("%v is above max, which is %v", t.Base, t.Max), "lower it, or raise max", keyPath(at, "max"))
		}
		if t.From >= p.Retry.Attempts {
			k.broken(keyPath(at, "from"), fmt.Sprintf("no retry follows failure %d, because retry.attempts is %d", t.From, p.Retry.Attempts), "lower it, or raise the attempts", keyPath(path, "attempts"))
			continue
		}
		for j, earlier := range tiers[:i] {
			if covers(earlier, t) {
				k.broken(at, fmt.Sprintf("never used: tier %d covers all of it and comes first", j+1), "put the narrower tier first, or remove it", indexPath(keyPath(path, "tiers"), j))
				break
			}
		}
	}
}

// covers reports whether every failure that b is for is taken by a.
func covers(a, b Tier) bool {
	categories := a.Category == "" || a.Category == b.Category
	end := a.To == 0 || b.To != 0 && b.To <= a.To
	return categories && a.From <= b.From && end
}

func (k *checker) subscription(c Config, i int, shared []Problem) {
	s, path := c.Subscriptions[i], indexPath("subscriptions", i)
	k.queueName(s.Source, keyPath(path, "source"))
	k.queueName(s.Group, keyPath(path, "group"))
	if b, ok := c.Brokers[s.Broker]; ok {
		k.brokerOf(b, s, path)
	} else {
		k.brokerReference(c, s, keyPath(path, "broker"))
	}
	before := len(k.problems)
	k.policy(s.Policy, path)
	// A mistake in the defaults section is one problem, not one a subscription.
	k.problems = append(k.problems[:before], slices.DeleteFunc(slices.Clone(k.problems[before:]), func(p Problem) bool {
		return slices.ContainsFunc(shared, func(q Problem) bool {
			return q.Text == p.Text && inheritedPath(p.Path) == q.Path
		})
	})...)
	if s.Handler.HTTP != nil {
		k.http(*s.Handler.HTTP, s.Policy, path)
	}
}

func (k *checker) brokerReference(c Config, s Subscription, path string) {
	names := make([]string, 0, len(c.Brokers))
	for name := range c.Brokers {
		names = append(names, name)
	}
	slices.Sort(names)
	list := strings.Join(names, ", ")
	if s.Broker == "" {
		k.broken(path, "is missing, and there are several brokers", "add it: one of "+list)
		return
	}
	hint := "use one of " + list + ", or add it under brokers"
	if near := nearest(s.Broker, names); near != "" {
		hint = "did you mean " + near + "?"
	}
	k.broken(path, "there is no broker "+quoted(s.Broker), hint)
}

const maxQueueName = 200

func (k *checker) queueName(name, path string) {
	bad := func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || r == '*' || r == '>' || r == unicode.ReplacementChar
	}
	switch {
	case name == "":
	case len(name) > maxQueueName:
		k.broken(path, fmt.Sprintf("the name is longer than %d bytes", maxQueueName), "shorten it")
	case strings.ContainsFunc(name, bad):
		k.broken(path, quoted(name)+` holds white space, a control character, "*" or ">"`, "write the name of one queue")
	}
}

// uniqueSubscriptions checks that no two subscriptions are the same, and that
// none consumes what redrive keeps for another one.
func (k *checker) uniqueSubscriptions(c Config) {
	type queue struct{ broker, name string }
	kept := map[queue]string{}
	first := map[[3]string]int{}
	for i, s := range c.Subscriptions {
		path := keyPath(indexPath("subscriptions", i), "source")
		if s.Source == "" {
			continue
		}
		id := [3]string{s.Broker, s.Source, s.Group}
		if j, twice := first[id]; twice {
			k.broken(path, fmt.Sprintf("subscriptions[%d] has the same broker, source and group", j), "remove one of them, or give this one a group of its own", indexPath("subscriptions", j)+".source")
			continue
		}
		first[id] = i
		names := broker.NamesFor(s.Source, s.Group)
		kept[queue{s.Broker, names.Retry}] = "retry queue"
		kept[queue{s.Broker, names.DeadLetter}] = "dead-letter queue"
		kept[queue{s.Broker, names.Replay}] = "replay queue"
		for _, category := range failure.Categories() {
			kept[queue{s.Broker, names.Quarantine(category)}] = "quarantine"
		}
	}
	for i, s := range c.Subscriptions {
		if what := kept[queue{s.Broker, s.Source}]; what != "" {
			k.broken(keyPath(indexPath("subscriptions", i), "source"), quoted(s.Source)+" is the "+what+" of another subscription", "rename one of the sources; redrive consumes its own queues by itself")
		}
	}
}

// url checks an address. The message never shows it, because of the password
// that may be in it.
func (k *checker) url(raw, path string, schemes ...string) *url.URL {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		k.broken(path, "not a URL", "write it as "+schemes[0]+"://host:port")
	case u.User != nil:
		k.broken(path, "a URL must not hold a user or password, because it is logged", "move them to the settings that take secrets")
	case !slices.Contains(schemes, u.Scheme) || u.Host == "":
		k.broken(path, "not a URL with one of the schemes "+strings.Join(schemes, ", "), "write it as "+schemes[0]+"://host:port")
	case u.Port() != "" && !validPort(u.Port()):
		k.broken(path, "the port is not a number from 1 to 65535", "correct it")
	default:
		return u
	}
	return nil
}

func validPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}
