package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const planted = "planted-secret"

// TestSecretIsNeverPrinted sends a secret down every road out of the process.
func TestSecretIsNeverPrinted(t *testing.T) {
	t.Parallel()
	s := SecretFromValue(planted)
	type hidden struct{ s Secret }
	type shown struct {
		S Secret
		P *Secret
		M map[string]Secret
	}
	holders := map[string]any{
		"secret": s, "pointer": &s, "list": []Secret{s}, "unexported field": hidden{s}, "pointer to unexported": &hidden{s},
		"fields": shown{s, &s, map[string]Secret{"a": s}}, "command": SecretFromCommand("echo " + planted),
		"error": fmt.Errorf("wrapped: %v", s),
	}
	for name, v := range holders {
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%p", "%10.3s"} {
			_, _ = fmt.Fprintf(&out, verb+"\n", v)
		}
		_, _ = fmt.Fprintln(&out, v)
		if data, err := json.Marshal(v); err == nil {
			out.Write(data)
		}
		if data, err := yaml.Marshal(v); err == nil {
			out.Write(data)
		}
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(h).Info("m", slog.Any("v", v))
		}
		text := out.String()
		if strings.Contains(text, planted) || strings.Contains(text, fmt.Sprintf("%x", planted)) {
			t.Errorf("%s is printed:\n%s", name, text)
		}
	}
	for _, got := range []string{s.String(), s.GoString(), fmt.Sprint(s), fmt.Sprintf("%#v", s), s.LogValue().String()} {
		if got != Redacted {
			t.Errorf("prints as %q", got)
		}
	}
	if got, _ := json.Marshal(s); string(got) != `"[redacted]"` {
		t.Errorf("JSON %s", got)
	}
	if got, _ := yaml.Marshal(s); string(got) != "'[redacted]'\n" {
		t.Errorf("YAML %s", got)
	}
}

// TestConfigurationHidesSecrets prints a whole configuration.
func TestConfigurationHidesSecrets(t *testing.T) {
	t.Parallel()
	l := decodeValid(t, string(full(t)))
	var out bytes.Buffer
	_, _ = fmt.Fprintf(&out, "%v %+v %#v", l.Config, l.Config, l.Config)
	for _, v := range []any{l.Config, l.View(true)} {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(data)
	}
	data, err := yaml.Marshal(l.Config)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(data)
	for _, origins := range []bool{true, false} {
		if data, err = l.View(true).YAML(origins); err != nil {
			t.Fatal(err)
		}
		out.Write(data)
	}
	if strings.Contains(out.String(), planted) || strings.Contains(out.String(), "pass show") {
		t.Error("a secret is printed")
	}
	if !bytes.Contains(data, []byte("token: '[redacted]' # env NATS_TOKEN")) {
		t.Errorf("the source of a secret is not shown:\n%s", data)
	}
}

func TestReveal(t *testing.T) {
	t.Setenv("REDRIVE_TEST_SECRET", planted)
	t.Setenv("REDRIVE_TEST_EMPTY", "")
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(planted+"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	echo := "echo " + planted
	for _, s := range []Secret{SecretFromEnv("REDRIVE_TEST_SECRET"), SecretFromFile(file), SecretFromCommand(echo), SecretFromValue(planted)} {
		if got, err := s.Reveal(t.Context()); err != nil || got != planted {
			t.Errorf("%s: %q, %v", s.Source(), got, err)
		}
	}
	if got, err := (Secret{}).Reveal(t.Context()); got != "" || err != nil {
		t.Errorf("zero: %q, %v", got, err)
	}
	large := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(large, bytes.Repeat([]byte("x"), maxSecret+1), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		s    Secret
		want string
	}{
		{SecretFromEnv("REDRIVE_TEST_UNSET"), "not set"},
		{SecretFromEnv("REDRIVE_TEST_EMPTY"), "not set"},
		{SecretFromFile(filepath.Join(t.TempDir(), "gone")), "no such file"},
		{SecretFromFile(large), "larger than 64KiB"},
		{SecretFromFile(t.TempDir()), "directory"},
		{SecretFromCommand("exit 3"), "failed"},
		{SecretFromCommand(echo + " && exit 3"), "failed"},
		{SecretFromValue("\n"), "empty"},
	}
	if runtime.GOOS != "windows" {
		tests = append(tests, struct {
			s    Secret
			want string
		}{SecretFromCommand("yes " + planted), "more than 64KiB"})
	}
	for _, tt := range tests {
		_, err := tt.s.Reveal(t.Context())
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), planted) {
			t.Errorf("%s: %v; want %s", tt.s.Source(), err, tt.want)
		}
	}
}

func TestCheckReferences(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("redrive.yaml", lines(
		"version: 1",
		"brokers: {b: {type: nats, url: 'nats://x', token: {env: REDRIVE_TEST_UNSET}, tls: {ca_file: gone.pem}}}",
		"subscriptions:",
		"  - {source: a, schema: {file: bad.json}, handler: {sink: discard}}",
		"  - {source: b, schema: {file: good.json}, handler: {http: {url: 'http://x', auth: {bearer: {file: token}}}}}",
	))
	write("bad.json", "{")
	write("good.json", "{}")
	write("token", planted)
	l, err := Load(Options{File: filepath.Join(dir, "redrive.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	err = l.CheckReferences(t.Context())
	var invalid *InvalidError
	if !errors.As(err, &invalid) {
		t.Fatalf("got %v", err)
	}
	var got []string
	for _, p := range invalid.Problems {
		got = append(got, fmt.Sprintf("%d:%s", p.Origin.Line, p.Path))
	}
	if want := "2:brokers.b.token 2:brokers.b.tls.ca_file 4:subscriptions[0].schema.file"; strings.Join(got, " ") != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
