package config

import (
	"bytes"
	"testing"
)

// uncomment switches on the commented settings of the template.
func uncomment(in []byte) []byte {
	out := bytes.Split(bytes.Clone(in), []byte("\n"))
	for i, line := range out {
		if len(line) > 1 && line[0] == '#' {
			// "#  key:" is a setting that stands two columns in; "# Text" is text.
			if setting := line[1:]; setting[0] != ' ' || bytes.HasPrefix(setting, []byte("  ")) {
				out[i] = setting
			}
		}
	}
	return bytes.Join(out, []byte("\n"))
}

func TestTemplate(t *testing.T) {
	t.Parallel()
	l, err := Decode("redrive.yaml", Template())
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Warnings) > 0 {
		t.Error(l.Warnings)
	}
	roundTrip(t, l)
	if l, err = Decode("redrive.yaml", uncomment(Template())); err != nil {
		t.Fatalf("with every setting switched on: %v", err)
	}
	if len(l.Config.Subscriptions) != 2 || len(l.Config.Brokers) != 5 || l.Config.Subscriptions[1].Retry.Tiers == nil {
		t.Errorf("something was not switched on: %+v", l.Config)
	}
	if len(l.Warnings) > 0 {
		t.Error(l.Warnings)
	}
	roundTrip(t, l)
}

// TestTemplateShowsBuiltInValues keeps the values in the comments true.
func TestTemplateShowsBuiltInValues(t *testing.T) {
	t.Parallel()
	l := decodeValid(t, string(uncomment(Template())))
	fresh := Config{}.WithDefaults()
	if got, want := l.written.Defaults.withDefaults(), fresh.Defaults; !bytes.Equal(encode(t, Config{Defaults: got}), encode(t, Config{Defaults: want})) {
		t.Errorf("got\n%s\nwant\n%s", encode(t, Config{Defaults: got}), encode(t, Config{Defaults: want}))
	}
}
