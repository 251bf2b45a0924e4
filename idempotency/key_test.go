package idempotency_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/idempotency"
)

func message(id string, headers ...string) *broker.Message {
	m := &broker.Message{ID: id, Body: []byte("body")}
	for i := 0; i+1 < len(headers); i += 2 {
		m.Headers = append(m.Headers, broker.Header{Name: headers[i], Value: []byte(headers[i+1])})
	}
	return m
}

func TestKey(t *testing.T) {
	position := broker.Incarnation{Cluster: "c", Queue: "orders@1", Position: "17"}
	steering := message("")
	steering.Control = []broker.Header{{Name: "Nats-Msg-Id", Value: []byte("n-1")}}
	for _, c := range []struct {
		name, header string
		m            *broker.Message
		id           broker.Incarnation
		want         string
	}{
		{"header as it is", "order", message("m1", "order", "4711"), position, "4711"},
		{"first of several", "order", message("", "order", "1", "order", "2"), position, "1"},
		{"header that steers a broker", "Nats-Msg-Id", steering, position, "n-1"},
		{"empty header", "order", message("m1", "order", ""), position, "i:c/orders@1/17"},
		{"header of another spelling", "order", message("m1", "Order", "4711"), position, "i:c/orders@1/17"},
		{"no header named", "", message("m1", "", "4711"), position, "i:c/orders@1/17"},
		{"header like a position", "order", message("", "order", "i:c/orders@1/17"), position, "h:i:c/orders@1/17"},
		{"header like a digest", "order", message("", "order", "sha256:"+envelope.Digest(bytes.Repeat([]byte("x"), 257))), position, "h:sha256:" + envelope.Digest(bytes.Repeat([]byte("x"), 257))},
		{"header of bytes", "order", message("", "order", "a b%\xff\n"), position, "h:a%20b%25%FF%0A"},
		{"publication", "", message("pub:file-1"), position, "pub:file-1"},
		{"message id only", "", message("m1"), broker.Incarnation{}, "m:m1"},
		{"nothing", "order", message(""), broker.Incarnation{}, ""},
		{"slash in a part", "", message(""), broker.Incarnation{Cluster: "a/b", Queue: "q", Position: "1"}, "i:a%2Fb/q/1"},
		{"line end in a part", "", message(""), broker.Incarnation{Cluster: "a\nb", Queue: "q", Position: "1"}, "i:a%0Ab/q/1"},
		{"longest", "order", message("", "order", strings.Repeat("x", 256)), position, strings.Repeat("x", 256)},
		{"too long", "order", message("", "order", strings.Repeat("x", 257)), position, "sha256:" + envelope.Digest(bytes.Repeat([]byte("x"), 257))},
	} {
		key, ok := idempotency.KeySource{Header: c.header}.Key(c.m, c.id)
		if ok != (c.want != "") {
			t.Errorf("%s: ok is %v", c.name, ok)
		}
		if key != c.want {
			t.Errorf("%s: %q, want %q", c.name, key, c.want)
		}
	}
}

// TestKeyIsInjective: two messages share a key only if they share the thing that
// it is made of.
func TestKeyIsInjective(t *testing.T) {
	part := rapid.OneOf(
		rapid.StringMatching(`[ab/%:\n ]{0,6}`),
		rapid.StringMatching(`(h:|i:|m:|pub:|sha256:)[ab/%2F]{0,4}`),
		rapid.StringMatching(`[a%]{250,400}`),
	)
	origin := rapid.Custom(func(t *rapid.T) [5]string {
		switch rapid.IntRange(0, 2).Draw(t, "kind") {
		case 0:
			return [5]string{"header", part.Draw(t, "value")}
		case 1:
			return [5]string{"position", part.Draw(t, "cluster"), part.Draw(t, "queue"), part.Draw(t, "position")}
		}
		return [5]string{"id", part.Draw(t, "id")}
	})
	keyOf := func(o [5]string) (string, bool) {
		switch o[0] {
		case "header":
			return idempotency.Key("k", message("", "k", o[1]), broker.Incarnation{})
		case "position":
			return idempotency.Key("k", message(""), broker.Incarnation{Cluster: o[1], Queue: o[2], Position: o[3]})
		}
		return idempotency.Key("k", message(o[1]), broker.Incarnation{})
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := origin.Draw(t, "a"), origin.Draw(t, "b")
		keyA, okA := keyOf(a)
		keyB, okB := keyOf(b)
		if okA && okB && (keyA == keyB) != (a == b) {
			t.Fatalf("%q and %q give %q and %q", a, b, keyA, keyB)
		}
		checkIdentity(t, keyA)
		if len(keyA) > idempotency.MaxKey {
			t.Fatalf("key of %d bytes", len(keyA))
		}
	})
}

func checkIdentity(t interface{ Fatalf(string, ...any) }, id string) {
	for i := range len(id) {
		if id[i] <= 0x20 || id[i] >= 0x7f {
			t.Fatalf("%q is not printable ASCII", id)
		}
	}
}

// TestKeyIsTheSameOnEveryDelivery: what changes between deliveries, and what must
// not be part of a key, does not change it.
func TestKeyIsTheSameOnEveryDelivery(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := message(rapid.String().Draw(t, "id"), "k", rapid.String().Draw(t, "value"))
		id := broker.Incarnation{Cluster: "c", Queue: rapid.String().Draw(t, "queue"), Position: "1"}
		header := rapid.SampledFrom([]string{"", "k", "other"}).Draw(t, "header")
		before, ok := idempotency.Key(header, m, id)

		again := *m
		again.Body = bytes.Clone(rapid.SliceOf(rapid.Byte()).Draw(t, "body"))
		again.Envelope = rapid.SliceOf(rapid.Byte()).Draw(t, "envelope")
		again.Headers = append([]broker.Header(nil), append(m.Headers, broker.Header{Name: "x-replayed", Value: []byte("true")})...)
		after, okAgain := idempotency.Key(header, &again, id)
		if before != after || ok != okAgain {
			t.Fatalf("%q became %q", before, after)
		}
	})
}

// TestPublishIdentitiesAreInjective draws pairs of neighbours: strings that differ
// by what the format uses as separator or escape.
func TestPublishIdentitiesAreInjective(t *testing.T) {
	part := rapid.OneOf(rapid.StringMatching(`[ab:/%2F53A]{0,6}`), rapid.String())
	kinds := map[string]func(a, b string, n int) string{
		"dead":        func(a, b string, _ int) string { return idempotency.DeadPublishID(a, b, "") },
		"dead again":  func(a, b string, _ int) string { return idempotency.DeadPublishID("o", a, b) },
		"letter":      func(a, b string, _ int) string { return idempotency.LetterIncarnation("o", a, b) },
		"origin":      func(a, b string, _ int) string { return idempotency.Origin(a, b) },
		"replay":      func(a, b string, n int) string { return idempotency.ReplayPublishID(a+b, n) },
		"publish":     func(a, b string, _ int) string { return idempotency.PublishID(a + b) },
		"incarnation": func(a, b string, _ int) string { return idempotency.CopyIncarnation(a, b) },
		"record":      func(a, b string, n int) string { return idempotency.RecordID(a+b, n) },
		"scope":       func(a, b string, _ int) string { return idempotency.Scope(a, b) },
	}
	rapid.Check(t, func(t *rapid.T) {
		type args struct {
			a, b string
			n    int
		}
		draw := rapid.Custom(func(t *rapid.T) args {
			return args{part.Draw(t, "a"), part.Draw(t, "b"), rapid.IntRange(0, 12).Draw(t, "n")}
		})
		one, two := draw.Draw(t, "one"), draw.Draw(t, "two")
		for name, id := range kinds {
			first, second := id(one.a, one.b, one.n), id(two.a, two.b, two.n)
			checkIdentity(t, first)
			same := one.a == two.a && one.b == two.b
			switch name {
			case "replay", "record":
				same = one.a+one.b == two.a+two.b && one.n == two.n
			case "publish":
				same = one.a+one.b == two.a+two.b
			}
			if (first == second) != same {
				t.Fatalf("%s: %+v and %+v give %q and %q", name, one, two, first, second)
			}
		}
	})
}

// TestNoCollisions makes identities of many random positions. A million with
// REDRIVE_FULL=1.
func TestNoCollisions(t *testing.T) {
	n := 200_000
	if os.Getenv("REDRIVE_FULL") == "1" {
		n = 1_000_000
	}
	rng := rand.New(rand.NewPCG(3, 4))
	seen := make(map[string]struct{}, 2*n)
	add := func(id string) {
		if _, ok := seen[id]; ok {
			t.Fatalf("%s came twice", id)
		}
		seen[id] = struct{}{}
	}
	for i := range n {
		id := broker.Incarnation{Cluster: "c", Queue: fmt.Sprint("q", rng.IntN(50)), Position: fmt.Sprint(i/7, ":", i%7)}
		key, _ := idempotency.Key("", &broker.Message{}, id)
		add(key)
		add(idempotency.CopyIncarnation(id.String(), "g"))
	}
}

// TestSplitsStayApart: of one string, cut in two at different places and with the
// separator left out, no two cuts may give the same identity.
func TestSplitsStayApart(t *testing.T) {
	kinds := map[string]func(a, b string) string{
		"dead":        func(a, b string) string { return idempotency.DeadPublishID(a, b, "") },
		"dead again":  func(a, b string) string { return idempotency.DeadPublishID("o", a, b) },
		"incarnation": idempotency.CopyIncarnation, "scope": idempotency.Scope,
	}
	rapid.Check(t, func(t *rapid.T) {
		whole := rapid.StringMatching(`([ab]{0,2}(:|/|%3A|%2F|%)){2,4}[ab]{0,2}`).Draw(t, "whole")
		for name, join := range kinds {
			seen := map[string][2]string{}
			for i := range len(whole) {
				for _, cut := range [][2]string{{whole[:i], whole[i:]}, {whole[:i], whole[i+1:]}} {
					id := join(cut[0], cut[1])
					if other, ok := seen[id]; ok && other != cut {
						t.Fatalf("%s: %q and %q both give %q", name, cut, other, id)
					}
					seen[id] = cut
				}
			}
		}
	})
}

func FuzzKey(f *testing.F) {
	f.Add("order", "4711", "m1", "c", "q", "1")
	f.Add("", "\xff", "pub:%", "/", "%", "\n")
	f.Fuzz(func(t *testing.T, header, value, id, cluster, queue, position string) {
		key, ok := idempotency.Key(header, message(id, header, value), broker.Incarnation{Cluster: cluster, Queue: queue, Position: position})
		checkIdentity(t, key)
		if ok != (key != "") || len(key) > idempotency.MaxKey {
			t.Fatalf("key %q, ok %v", key, ok)
		}
	})
}
