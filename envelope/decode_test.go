package envelope_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/redrive-dev/redrive/envelope"
)

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct{ name, raw, field string }{
		{"nothing", ``, ""},
		{"no object", `"redrive"`, ""},
		{"no version", `{"id":"1"}`, "v"},
		{"version zero", `{"v":0}`, "v"},
		{"version of another kind", `{"v":"1"}`, "v"},
		{"cut off", `{"v":1,"id":"1`, "id"},
		{"text after the end", `{"v":1} {}`, ""},
		{"wrong kind of text", `{"v":1,"id":5}`, "id"},
		{"wrong kind of count", `{"v":1,"n":1.5}`, "n"},
		{"negative count", `{"v":1,"n":-1}`, "n"},
		{"count too large", `{"v":1,"n":2147483648}`, "n"},
		{"number too large", `{"v":1,"ff":9223372036854775808}`, "ff"},
		{"leading zero", `{"v":1,"n":01}`, ""},
		{"unknown category", `{"v":1,"cat":"sad"}`, "cat"},
		{"field twice", `{"v":1,"id":"1","id":"2"}`, "id"},
		{"attempt that is none", `{"v":1,"att":[1]}`, "att"},
		{"delay out of range", `{"v":1,"att":[{"d":9223372036854775807}]}`, "att.d"},
		{"header with two values", `{"v":1,"ctl":[{"h":"x","v":"1","b":"MQ=="}]}`, "ctl.b"},
		{"header that is not base64", `{"v":1,"ctl":[{"h":"x","b":"?"}]}`, "ctl.b"},
		{"unknown escape", `{"v":1,"id":"\x41"}`, "id"},
		{"control character", "{\"v\":1,\"id\":\"a\nb\"}", "id"},
		{"nested too deep", `{"v":1,"new":` + strings.Repeat("[", 60) + strings.Repeat("]", 60) + `}`, ""},
		{"too long", `{"v":1,"new":"` + strings.Repeat("x", envelope.MaxEncoded) + `"}`, ""},
		{"trailing comma", `{"v":1,}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := envelope.Decode([]byte(c.raw))
			var syntax *envelope.SyntaxError
			if !errors.As(err, &syntax) {
				t.Fatalf("error is %v, want a *SyntaxError", err)
			}
			if syntax.Field != c.field {
				t.Errorf("field is %q, want %q: %v", syntax.Field, c.field, err)
			}
			if diff := cmp.Diff(envelope.Envelope{}, e); diff != "" {
				t.Errorf("the envelope is not zero:\n%s", diff)
			}
		})
	}
}

func TestDecodeRefusesNewerVersion(t *testing.T) {
	// Whatever else a newer version holds, it is the version that is reported.
	for _, raw := range []string{`{"v":2}`, `{"v":2,"id":{"n":1}}`, `{"id":["x"],"v":7}`, `{"v":2, what comes next`} {
		_, err := envelope.Decode([]byte(raw))
		var version *envelope.VersionError
		if !errors.As(err, &version) || version.Version < 2 {
			t.Errorf("%s: error is %v, want a *VersionError", raw, err)
		}
	}
}

func TestErrorTexts(t *testing.T) {
	_, version := envelope.Decode([]byte(`{"v":2}`))
	_, field := envelope.Decode([]byte(`{"v":1,"att":[{"t":true}]}`))
	_, whole := envelope.Decode([]byte(`nonsense`))
	_, _, size := envelope.Encode(envelope.Envelope{}, 10)
	for err, want := range map[error]string{
		version: "envelope has version 2 and this release reads versions up to 1: update redrive",
		field:   `envelope is damaged at byte 19, in field "att.t": want a number`,
		whole:   "envelope is damaged at byte 0: want an object",
		size:    "envelope needs 1024 bytes and the limit is 10: raise the limit, or shorten the names of source, consumer group and ids",
	} {
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func TestLoneSurrogates(t *testing.T) {
	for escaped, want := range map[string]string{
		`\udcff\udc80`: "\xff\x80", // bytes that are not UTF-8
		`\ud83d\ude80`: "🚀",
		`\ud83d\udc80`: "💀", // a pair wins over a byte
		`\ud83d`:       "\ufffd",
		`\ud83dx`:      "\ufffdx",
		`\ud83d\u0041`: "\ufffdA",
		`\udc7f`:       "\ufffd",
		`\udfff`:       "\ufffd",
		`\udcc3\udca9`: "é",
		"\xff":         "\xff",
	} {
		e, err := envelope.Decode([]byte(`{"v":1,"id":"` + escaped + `"}`))
		if err != nil || e.ID != want {
			t.Errorf("%s gives %q, %v, want %q", escaped, e.ID, err, want)
		}
	}
}
