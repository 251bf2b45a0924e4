package config

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// files is a file system for Load.
type files map[string]string

func (f files) read(name string) ([]byte, error) {
	if text, ok := f[name]; ok {
		return []byte(text), nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func values(l *Loaded, resolved bool, paths ...string) []string {
	var out []string
	for _, v := range l.View(resolved).Values() {
		for _, p := range paths {
			if v.Path == p {
				out = append(out, v.Path+"="+v.Value+" ("+v.Origin.String()+")")
			}
		}
	}
	return out
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	user := filepath.Join("/home/u", ".config", "redrive", "config.yaml")
	disk := files{
		user:         "version: 1\nlog: {level: debug, format: json}\nadmin: {listen: ':1'}\nbrokers: {b: {type: nats, url: 'nats://user', token: {env: A}}}\n",
		FileName:     "version: 1\nlog: {level: warn}\nadmin: {listen: ':2'}\nbrokers: {b: {url: 'nats://project', token: {file: t}}}\n",
		"other.yaml": "version: 1\nlog: {format: text}\n",
	}
	env := []string{"HOME=/home/u", "REDRIVE_ADMIN_LISTEN=:3", "REDRIVE_DATA_DIR=env-dir", "REDRIVE_BROKERS_B_REPLICAS=3"}
	flags := []Flag{{Name: "--data-dir", Path: "data_dir", Value: "flag-dir"}}

	l, err := Load(Options{Environ: env, Flags: flags, ReadFile: disk.read})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"data_dir=flag-dir (flag --data-dir)",
		"admin.listen=:3 (env REDRIVE_ADMIN_LISTEN)",
		"log.level=warn (redrive.yaml:2:7)",
		"log.format=json (" + user + ":2:21)",
		"brokers.b.url=nats://project (redrive.yaml:4:15)",
		"brokers.b.token=[redacted] (redrive.yaml:4:38)",
		"brokers.b.replicas=3 (env REDRIVE_BROKERS_B_REPLICAS)",
		"brokers.b.prefix=redrive (default)",
	}
	got := values(l, true, "data_dir", "admin.listen", "log.level", "log.format", "brokers.b.url", "brokers.b.token", "brokers.b.replicas", "brokers.b.prefix")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := l.Config.Brokers["b"].Token; !got.Equal(SecretFromFile("t")) {
		t.Errorf("a reference to a secret was merged and not replaced: %v", got.Source())
	}

	l, err = Load(Options{File: "other.yaml", Environ: env, ReadFile: disk.read})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"other.yaml"}, l.Files); diff != "" {
		t.Errorf("a named file stands alone (-want +got):\n%s", diff)
	}
	if l, err = Load(Options{Environ: append(env, "REDRIVE_CONFIG=other.yaml"), ReadFile: disk.read}); err != nil || l.Files[0] != "other.yaml" {
		t.Errorf("REDRIVE_CONFIG: %v, %v", l, err)
	}
}

func TestLoadWithoutFiles(t *testing.T) {
	t.Parallel()
	l, err := Load(Options{ReadFile: files{}.read})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Config{}.WithDefaults(), l.Config); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := l.Config.Brokers[DefaultBroker]; got.Type != BrokerEmbedded || got.Sync != "always" || got.MaxStore != 10<<30 {
		t.Errorf("default broker %+v", got)
	}
	if _, err := Load(Options{File: "gone.yaml", ReadFile: files{}.read}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a named file that is not there: %v", err)
	}
	refused := errors.New("refused")
	if _, err := Load(Options{ReadFile: func(string) ([]byte, error) { return nil, refused }}); !errors.Is(err, refused) {
		t.Errorf("a file that cannot be read: %v", err)
	}
}

func TestProblemsOfAllSources(t *testing.T) {
	t.Parallel()
	_, err := Load(Options{
		Environ:  []string{"REDRIVE_LOG_FORMAT=xml", "REDRIVE_DEFAULTS_CONCURRENCY=many"},
		Flags:    []Flag{{Name: "--log-level", Path: "log.level", Value: "loud"}},
		ReadFile: files{FileName: "version: 1\nnonsense: 1\n"}.read,
	})
	checkProblems(t, err, []string{
		`redrive.yaml:2:1: nonsense: unknown key "nonsense"; known here: version, data_dir, admin, log, brokers, defaults, subscriptions`,
		`env REDRIVE_DEFAULTS_CONCURRENCY: defaults.concurrency: "many" is not a whole number; write digits, such as 5`,
		`env REDRIVE_LOG_FORMAT: log.format: "xml" is not one of text, json; use one of them`,
		`flag --log-level: log.level: "loud" is not one of debug, info, warn, error; use one of them`,
	})
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	disk := files{FileName: "version: 1\nbrokers: {my-nats: {type: nats, url: 'nats://x'}}\nsubscriptions: [{source: a, handler: {http: {url: 'https://x', auth: {bearer: {env: REDRIVE_MY_TOKEN}}}}}]\n"}
	l, err := Load(Options{ReadFile: disk.read, Environ: []string{
		"REDRIVE_BROKERS_MY_NATS_TOKEN=planted-secret", "REDRIVE_MY_TOKEN=planted-secret", "REDRIVE_LOG_LVEL=debug", "REDRIVE_LOG_FORMAT=",
		"REDRIVE_SERVICE_HOST=10.0.0.1", "REDRIVE_PORT_9090_TCP_ADDR=x", "REDRIVE_PORT=tcp://x",
	}})
	if err != nil {
		t.Fatal(err)
	}
	if got := l.Config.Brokers["my-nats"].Token; !got.Equal(SecretFromEnv("REDRIVE_BROKERS_MY_NATS_TOKEN")) {
		t.Errorf("token from %q", got.Source())
	}
	var warnings []string
	for _, w := range l.Warnings {
		warnings = append(warnings, w.Error())
	}
	if diff := cmp.Diff([]string{"env REDRIVE_LOG_LVEL: warning: this variable sets nothing; did you mean REDRIVE_LOG_LEVEL?"}, warnings); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	names := map[string]string{}
	for _, o := range envSettings(typeOfConfig(), nil, []string{"prod"}) {
		name := envName(o.path)
		if other, twice := names[name]; twice {
			t.Errorf("%s sets %s and %v", name, other, o.path)
		}
		names[name] = keyPath("", o.path[len(o.path)-1])
		if injected(name) {
			t.Errorf("%s is taken for a variable of Kubernetes", name)
		}
	}
}

func TestRelativePaths(t *testing.T) {
	t.Parallel()
	name := filepath.Join("conf", "r.yaml")
	disk := files{name: lines(
		"version: 1", "data_dir: data",
		"brokers: {b: {type: nats, url: 'nats://x', password: {file: pw}, user: u, tls: {ca_file: /abs/ca.pem}}}",
		"subscriptions: [{source: a, schema: {file: ../s.json}, handler: {sink: discard}}]",
	)}
	l, err := Load(Options{File: name, ReadFile: disk.read})
	if err != nil {
		t.Fatal(err)
	}
	b := l.Config.Brokers["b"]
	if l.Config.DataDir != Path(filepath.Join("conf", "data")) || b.TLS.CAFile != "/abs/ca.pem" || l.Config.Subscriptions[0].Schema.File != "s.json" || !b.Password.Equal(SecretFromFile(filepath.Join("conf", "pw"))) {
		t.Errorf("%+v %v %v", l.Config, b.Password.Source(), l.Config.Subscriptions[0].Schema)
	}
	if l.written.DataDir != "data" {
		t.Errorf("what was written changed: %s", l.written.DataDir)
	}
	l, err = Load(Options{File: name, ReadFile: disk.read, Environ: []string{"REDRIVE_DATA_DIR=here"}})
	if err != nil || l.Config.DataDir != "here" {
		t.Errorf("a path from the environment: %v, %v", l.Config.DataDir, err)
	}
}

func TestInheritance(t *testing.T) {
	t.Parallel()
	l := decodeValid(t, lines(
		"version: 1",
		"defaults: {concurrency: 8, retry: {attempts: 9, base: 1m, tiers: [{to: 2, jitter: none}]}, handler_timeout: 10s, lease: 10s}",
		"subscriptions:",
		"  - {source: a, handler: {http: {url: 'http://x'}}}",
		"  - {source: b, handler: {http: {url: 'http://x'}}, concurrency: 2, handler_timeout: 5s, retry: {base: 2m, tiers: [{to: 1}]}}",
	))
	a, b := l.Config.Subscriptions[0], l.Config.Subscriptions[1]
	type facts struct {
		Concurrency, InFlight, Idle, Attempts int
		Base, Max, TierBase, Timeout          string
		TierJitter                            string
	}
	of := func(s Subscription) facts {
		return facts{
			s.Concurrency, s.MaxInFlight, s.Handler.HTTP.MaxIdleConns, s.Retry.Attempts,
			s.Retry.Base.String(), s.Retry.Max.String(), s.Retry.Tiers[0].Base.String(), s.Handler.HTTP.Timeout.String(), s.Retry.Tiers[0].Jitter,
		}
	}
	if diff := cmp.Diff(facts{8, 32, 8, 9, "1m", "1m", "1m", "10s", "none"}, of(a)); diff != "" {
		t.Errorf("a (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(facts{2, 8, 2, 9, "2m", "2m", "2m", "5s", "full"}, of(b)); diff != "" {
		t.Errorf("b (-want +got):\n%s", diff)
	}
	want := []string{"subscriptions[0].concurrency=8 (redrive.yaml:2:12)", "subscriptions[1].concurrency=2 (redrive.yaml:5:53)"}
	if diff := cmp.Diff(want, values(l, true, "subscriptions[0].concurrency", "subscriptions[1].concurrency")); diff != "" {
		t.Errorf("origins (-want +got):\n%s", diff)
	}
}
