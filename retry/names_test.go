package retry_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/redrive-dev/redrive/retry"
)

func TestNamesGoThereAndBack(t *testing.T) {
	type both struct {
		Backoff []retry.Backoff
		Jitter  []retry.Jitter
	}
	in := both{backoffs, jitters}
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"Backoff":["exponential","linear","fixed","none"],"Jitter":["full","equal","decorrelated","random","none"]}`
	if string(text) != want {
		t.Errorf("got %s, want %s", text, want)
	}
	var out both
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in, out); diff != "" {
		t.Errorf("(-in +out)\n%s", diff)
	}
}

func TestUnknownNamesAreRefused(t *testing.T) {
	var b retry.Backoff
	if err := b.UnmarshalText([]byte("cubic")); err == nil || !strings.Contains(err.Error(), `"cubic"`) || !strings.Contains(err.Error(), "exponential") {
		t.Errorf("backoff error %v does not say what was wrong and what is allowed", err)
	}
	var j retry.Jitter
	if err := j.UnmarshalText([]byte("")); err == nil || !strings.Contains(err.Error(), "decorrelated") {
		t.Errorf("jitter error %v does not say what is allowed", err)
	}
	if _, err := retry.Backoff(9).MarshalText(); err == nil {
		t.Error("an unknown backoff was marshalled")
	}
	if _, err := retry.Jitter(9).MarshalText(); err == nil {
		t.Error("an unknown jitter was marshalled")
	}
	if got := retry.Backoff(9).String() + " " + retry.Jitter(9).String(); got != "backoff(9) jitter(9)" {
		t.Errorf("unknown values print as %q", got)
	}
}

func FuzzUnmarshalText(f *testing.F) {
	for _, name := range []string{"exponential", "linear", "fixed", "none", "full", "equal", "decorrelated", "random", "", "Full"} {
		f.Add([]byte(name))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var b retry.Backoff
		if err := b.UnmarshalText(text); err == nil && b.String() != string(text) {
			t.Errorf("backoff %q became %v", text, b)
		}
		var j retry.Jitter
		if err := j.UnmarshalText(text); err == nil && j.String() != string(text) {
			t.Errorf("jitter %q became %v", text, j)
		}
	})
}
