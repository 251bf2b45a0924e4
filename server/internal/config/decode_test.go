package config

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"
)

func TestEverySettingDecodes(t *testing.T) {
	t.Parallel()
	l := decodeValid(t, string(full(t)))
	c := l.written
	want := Policy{
		Concurrency: 4, MaxInFlight: 64, Lease: Duration(time.Minute),
		Retry: Retry{
			Attempts: 7,
			Delay:    Delay{Strategy: "linear", Jitter: "equal", Base: Duration(200 * time.Millisecond), Max: Duration(time.Minute), Multiplier: 1.5},
			Tiers: []Tier{
				{From: 1, To: 2, Category: "transient", Delay: Delay{Strategy: "fixed", Jitter: "none", Base: Duration(time.Second), Max: Duration(2 * time.Second), Multiplier: 3}},
				{From: 3, Delay: Delay{Jitter: "random"}},
			},
			RetryAfterMax: Duration(2 * time.Hour), MaxAge: Duration(48 * time.Hour), Budget: Budget{Ratio: 0.1, Floor: 5, Life: Duration(30 * time.Second)},
		},
		Breaker:        Breaker{Consecutive: -1, FailureRate: 0.25, Window: Duration(20 * time.Second), MinVolume: 30, Successes: 3, Probes: 2, Recovery: Duration(2 * time.Second), RecoveryMax: Duration(2 * time.Second)},
		Poison:         Poison{CrashThreshold: 4, Suspicion: 3, Threshold: 4, Ratio: 0.8, MinVolume: 10, Window: Duration(2 * time.Minute)},
		HoldMax:        Duration(5 * time.Minute),
		HandlerTimeout: Duration(20 * time.Second), HandlerGrace: Duration(10 * time.Second), StopTimeout: Duration(15 * time.Second), Heartbeat: Duration(20 * time.Second),
		LoneHold: Duration(10 * time.Minute), Inbox: Inbox{Store: "memory"}, IdempotencyHeader: "X-Event-Id",
	}
	if diff := cmp.Diff(want, c.Defaults); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	wantHTTP := &HTTP{
		URL: "https://orders.example.com/in", Timeout: Duration(10 * time.Second),
		Auth: &Auth{Bearer: SecretFromCommand("pass show orders")},
		HMAC: &HMAC{Secret: SecretFromEnv("HMAC_NEW"), OldSecrets: []Secret{SecretFromEnv("HMAC_OLD")}},
		TLS:  &TLS{CAFile: "ca.pem"}, MaxIdleConns: 8,
		Statuses:      map[string]string{"409": "business", "5xx": "transient"},
		Headers:       map[string]string{"X-Team": "billing"},
		SecretHeaders: map[string]Secret{"X-Api-Key": SecretFromValue("planted-secret")},
	}
	if diff := cmp.Diff(wantHTTP, c.Subscriptions[0].Handler.HTTP); diff != "" {
		t.Errorf("http (-want +got):\n%s", diff)
	}
	if got := c.Brokers["user"]; got.User != "u" || !got.Password.Equal(SecretFromFile("password.txt")) || got.URL != "tls://c" {
		t.Errorf("broker user: %+v", got)
	}
}

// TestFullFileIsFull keeps the file of the test above from falling behind.
func TestFullFileIsFull(t *testing.T) {
	t.Parallel()
	var root yaml.Node
	if err := yaml.Unmarshal(full(t), &root); err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		if n.Kind == yaml.MappingNode {
			for i := 0; i < len(n.Content); i += 2 {
				keys[n.Content[i].Value] = true
			}
		}
		for _, c := range n.Content {
			walk(c)
		}
	}
	walk(&root)
	eachSetting(reflect.TypeFor[Config](), func(s Setting) {
		if !keys[s.Name] {
			t.Errorf("%s.%s: key %s is not in testdata/full.yaml", s.Owner.Name(), s.Field, s.Name)
		}
	})
}

// eachSetting visits every setting below a type.
func eachSetting(t reflect.Type, f func(Setting)) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Map || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t == reflect.TypeFor[Secret]() {
		return
	}
	for _, s := range Settings(t) {
		f(s)
		eachSetting(s.Type, f)
	}
}

// TestTags reads every tag once, so that no default or bound can fail later.
func TestTags(t *testing.T) {
	t.Parallel()
	eachSetting(reflect.TypeFor[Config](), func(s Setting) {
		at := s.Owner.Name() + "." + s.Field
		for what, text := range map[string]string{"default": s.Default, "min": s.Min, "max": s.Max, "above": s.Above, "off": s.Off} {
			if text == "" {
				continue
			}
			v := reflect.New(s.Type).Elem()
			if err := setScalar(v, text); err != nil {
				t.Errorf("%s: %s: %v", at, what, err)
			}
			if what == "default" {
				if wrong, _ := s.check(v); wrong != "" || v.IsZero() {
					t.Errorf("%s: the default %s is not allowed: %s", at, text, wrong)
				}
			}
		}
		zero := reflect.New(s.Type).Elem()
		numeric := zero.CanInt() || zero.CanFloat()
		if numeric && s.Name != "version" && s.Min == "" && s.Above == "" {
			t.Errorf("%s: has no lower bound, so an explicit zero would be mistaken for the default", at)
		}
		if numeric && s.Max == "" && s.Name != "version" && s.Name != "max_store" {
			t.Errorf("%s: has no upper bound", at)
		}
	})
}

func TestProblems(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		in   string
		want []string
	}{
		{"empty", "", []string{"redrive.yaml:1:1: version: is missing; start the file with version: 1"}},
		{"comment only", "# nothing\n", []string{"redrive.yaml:1:1: version: is missing; start the file with version: 1"}},
		{"later version", "version: 2\n", []string{"redrive.yaml:1:10: version: 2 is not supported; write 1"}},
		{"syntax", "version: 1\nlog: {level: info\n", []string{"redrive.yaml:2:1: not valid YAML: did not find expected ',' or '}'; look at the indentation, colons and quotes there and on the line above"}},
		{"not a mapping", "- a\n", []string{
			"redrive.yaml:1:1: the file holds a list and not settings; write keys and values, such as version: 1",
		}},
		{"two documents", "version: 1\n---\nversion: 1\n", []string{"redrive.yaml:2:1: a second document starts here; put everything into one document, without ---"}},
		{"duplicate", "version: 1\nlog: {}\nlog: {}\n", []string{"redrive.yaml:3:1: log: the key is given twice, first on line 2; remove one of them"}},
		{"unknown, near", "version: 1\nsubscription: []\n", []string{`redrive.yaml:2:1: subscription: unknown key "subscription"; did you mean subscriptions?`}},
		{"unknown, other spelling", "version: 1\ndataDir: x\n", []string{`redrive.yaml:2:1: dataDir: unknown key "dataDir"; did you mean data_dir?`}},
		{"unknown, one level too high", "version: 1\nlisten: x\n", []string{`redrive.yaml:2:1: listen: unknown key "listen"; did you mean admin.listen?`}},
		{"unknown, far", "version: 1\nlog: {qqq: 1}\n", []string{`redrive.yaml:2:7: log.qqq: unknown key "qqq"; known here: level, format`}},
		{"merge key", "version: 1\nlog: &a {level: info}\nadmin: {<<: *a}\n", []string{"redrive.yaml:3:9: admin: merge keys (<<) are not supported; use the defaults section, or an alias for a whole value"}},
		{"wrong type", "version: 1\nlog: [a]\n", []string{"redrive.yaml:2:6: log: want a mapping, found a list; indent its keys below it"}},
		{"list wanted", "version: 1\nsubscriptions: {a: b}\n", []string{`redrive.yaml:2:16: subscriptions: want a list, found a mapping; start each item with "- "`}},
		{"number for text", "version: 1\nlog: {level: 1}\n", []string{`redrive.yaml:2:14: log.level: want text, found the number "1"; put it in quotes: "1"`}},
		{"truth for text", "version: 1\nlog: {level: true}\n", []string{`redrive.yaml:2:14: log.level: want text, found the truth value true; put it in quotes: "true"`}},
		{"text for number", "version: 1\ndefaults: {concurrency: many}\n", []string{`redrive.yaml:2:25: defaults.concurrency: want a whole number, found the text "many"; write digits, such as 5`}},
		{"fraction for number", "version: 1\ndefaults: {concurrency: 1.5}\n", []string{`redrive.yaml:2:25: defaults.concurrency: want a whole number, found the number "1.5"; write digits, such as 5`}},
		{"huge number", "version: 1\ndefaults: {concurrency: 99999999999999999999}\n", []string{`redrive.yaml:2:25: defaults.concurrency: want a whole number, found the number "99999999999999999999"; write digits, such as 5`}},
		{"not finite", "version: 1\ndefaults: {poison: {ratio: .inf}}\n", []string{"redrive.yaml:2:28: defaults.poison.ratio: is not a number; write a plain number"}},
		{"explicit zero", "version: 1\ndefaults: {concurrency: 0}\n", []string{"redrive.yaml:2:25: defaults.concurrency: 0 is below the least allowed value 1; raise it"}},
		{"too large", "version: 1\ndefaults: {concurrency: 10001}\n", []string{"redrive.yaml:2:25: defaults.concurrency: 10001 is above the largest allowed value 10000; lower it"}},
		{"rate of zero", "version: 1\ndefaults: {breaker: {failure_rate: 0}}\n", []string{"redrive.yaml:2:36: defaults.breaker.failure_rate: 0 must be more than 0; write a value up to 1, or -1 to turn it off"}},
		{"no unit", "version: 1\ndefaults: {lease: 30}\n", []string{`redrive.yaml:2:19: defaults.lease: "30" has no unit; write a number with a unit out of ms, s, m, h, d, such as 30s`}},
		{"bad duration", "version: 1\ndefaults: {lease: 30 seconds}\n", []string{`redrive.yaml:2:19: defaults.lease: "30 seconds" is not a duration; write a number with a unit out of ms, s, m, h, d, such as 30s`}},
		{"negative duration", "version: 1\ndefaults: {lease: -30s}\n", []string{`redrive.yaml:2:19: defaults.lease: "-30s" has a sign; write a number with a unit out of ms, s, m, h, d, such as 30s`}},
		{"null for a value", "version: 1\ndata_dir:\n", []string{"redrive.yaml:2:10: data_dir: want text, found nothing; write one value"}},
		{"empty text", "version: 1\ndata_dir: ''\n", []string{"redrive.yaml:2:11: data_dir: the value is empty; write text or remove the key"}},
		{"secret in plain text", "version: 1\nbrokers: {b: {type: nats, url: 'nats://x', token: planted-secret}}\n", []string{
			`redrive.yaml:2:51: brokers.b.token: a secret is not written here in plain text; write {env: NAME}, {file: path} or {cmd: "command"}; {value: …} if it must be in the file`,
		}},
		{"masked secret", "version: 1\nbrokers: {b: {type: nats, url: 'nats://x', token: '[redacted]'}}\n", []string{
			`redrive.yaml:2:51: brokers.b.token: this is what a secret is printed as, not one; write {env: NAME}, {file: path} or {cmd: "command"}`,
		}},
		{"secret twice", "version: 1\nbrokers: {b: {type: nats, url: 'nats://x', token: {env: A, file: b}}}\n", []string{
			`redrive.yaml:2:51: brokers.b.token: want a reference to a secret with exactly one key; write {env: NAME}, {file: path} or {cmd: "command"}`,
		}},
		{"secret of no kind", "version: 1\nbrokers: {b: {type: nats, url: 'nats://x', token: {vault: a}}}\n", []string{
			`redrive.yaml:2:52: brokers.b.token.vault: unknown key "vault"; write {env: NAME}, {file: path} or {cmd: "command"}`,
		}},
		{"variable with a dollar", "version: 1\nbrokers: {b: {type: nats, url: 'nats://x', token: {env: $A}}}\n", []string{
			"redrive.yaml:2:57: brokers.b.token.env: this is not the name of a variable; write its name alone, such as {env: NATS_TOKEN}",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Decode("redrive.yaml", []byte(tt.in))
			checkProblems(t, err, tt.want)
		})
	}
}

func checkProblems(t *testing.T, err error, want []string) {
	t.Helper()
	var got []string
	if err != nil {
		got = strings.Split(err.Error(), "\n")
		var invalid *InvalidError
		if !errors.As(err, &invalid) || len(invalid.Problems) != len(got) {
			t.Errorf("not one line a problem: %#v", err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if strings.Contains(strings.Join(got, "\n"), "planted-secret") {
		t.Error("a problem shows a secret")
	}
}

func TestAliases(t *testing.T) {
	t.Parallel()
	l := decodeValid(t, lines("version: 1", "subscriptions:", "  - {source: a, handler: &h {sink: discard}}", "  - {source: b, handler: *h}"))
	if got := l.Config.Subscriptions[1].Handler.Sink; got != SinkDiscard {
		t.Errorf("sink %q", got)
	}
}

func TestHostileFiles(t *testing.T) {
	t.Parallel()
	var bomb strings.Builder
	bomb.WriteString("version: 1\na: &a [x,x,x,x,x,x,x,x,x,x]\n")
	for c := 'b'; c < 'l'; c++ {
		items := strings.TrimSuffix(strings.Repeat("*"+string(c-1)+",", 10), ",")
		fmt.Fprintf(&bomb, "%c: &%c [%s]\n", c, c, items)
	}
	for name, in := range map[string]string{
		"alias bomb":   bomb.String(),
		"deep nesting": "version: 1\na: " + strings.Repeat("[", 500) + strings.Repeat("]", 500),
		"too large":    "version: 1\n#" + strings.Repeat("x", maxFile),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Decode("redrive.yaml", []byte(in))
			if err == nil || !strings.Contains(err.Error(), "large") {
				t.Errorf("got %.300v", err)
			}
		})
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"30s": "30s", "1500ms": "1.5s", "90s": "1m30s", "60m": "1h", "24h": "1d", "7d": "7d", "1d12h": "36h", "36h30m": "36h30m", "100us": "100µs",
	} {
		d, err := ParseDuration(in)
		if err != nil || d.String() != want {
			t.Errorf("%s: %v, %v; want %s", in, d, err, want)
		}
	}
	for _, in := range []string{"", "5", "0", "d", "-1s", "+1s", "1d-1h", "1.5d", "1w", "1s 2s", "106752d", "106751d24h", "99999999999d", "9999999999h", "nan", "inf"} {
		if d, err := ParseDuration(in); err == nil {
			t.Errorf("%q: read as %v", in, d)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := Duration(rapid.Int64Min(0).Draw(t, "d"))
		back, err := ParseDuration(d.String())
		if err != nil || back != d {
			t.Fatalf("%d prints as %s and reads as %d, %v", d, d, back, err)
		}
	})
}

func TestSize(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"10GiB": "10GiB", "1024MiB": "1GiB", "1GB": "1GB", "1500kB": "1500kB", "1000000kB": "1GB", "5 B": "5B", "0B": "0B"} {
		s, err := ParseSize(in)
		if err != nil || s.String() != want {
			t.Errorf("%s: %v, %v; want %s", in, s, err, want)
		}
	}
	for _, in := range []string{"", "5", "B", "-1B", "1.5GiB", "1gib", "99999999TiB", "1PiB"} {
		if s, err := ParseSize(in); err == nil {
			t.Errorf("%q: read as %v", in, s)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := Size(rapid.Int64Min(0).Draw(t, "s"))
		back, err := ParseSize(s.String())
		if err != nil || back != s {
			t.Fatalf("%d prints as %s and reads as %d, %v", s, s, back, err)
		}
	})
}
