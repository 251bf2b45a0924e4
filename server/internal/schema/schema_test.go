package schema

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive/failure"
)

const orderSchema = `{
	"type": "object",
	"required": ["id", "customer"],
	"properties": {
		"id": {"type": "integer", "minimum": 1, "maximum": 18446744073709551615},
		"customer": {"type": "object", "required": ["name", "country"]},
		"items": {"type": "array", "items": {"$ref": "#/$defs/item"}},
		"labels": {"type": "object", "additionalProperties": {"type": "string"}},
		"pay": {"oneOf": [{"required": ["card"]}, {"required": ["iban"]}]}
	},
	"unevaluatedProperties": false,
	"$defs": {"item": {"type": "object", "properties": {"price": {"type": "number"}, "sku": {"pattern": "^[A-Z]+$"}}}}
}`

func mustCompile(tb testing.TB, raw string) *Validator {
	tb.Helper()
	v, err := Compile("order.json", []byte(raw))
	require.NoError(tb, err)
	return v
}

func check(tb testing.TB, v *Validator, body string) error {
	tb.Helper()
	return v.Validate(tb.Context(), []byte(body), "application/json")
}

func TestTexts(t *testing.T) {
	t.Parallel()
	v := mustCompile(t, orderSchema)
	for body, want := range map[string]string{
		`{"id":1,"customer":{"name":"n","country":"c"}}`: "",
		`[]`:                                    "body does not match order.json: $: type (want object)",
		`{}`:                                    "body does not match order.json: $: required (customer, id)",
		`{"id":0,"customer":{"name":"secret"}}`: "body does not match order.json: $.customer: required (country); $.id: minimum",
		`{"id":1,"customer":{"name":"n","country":"c"},"items":[{"price":1},{"price":"secret"},{"price":null},{"sku":"secret"}]}`: "body does not match order.json: $.items[].price: type (want number); $.items[].sku: pattern",
		`{"id":1,"customer":{"name":"n","country":"c"},"labels":{"secret@example.com":1,"other":2}}`:                              "body does not match order.json: $.labels.*: type (want string)",
		`{"id":1,"customer":{"name":"n","country":"c"},"secret":1}`:                                                               "body does not match order.json: $.*: false (not allowed)",
		`{"id":1,"customer":{"name":"n","country":"c"},"pay":{"secret":1}}`:                                                       "body does not match order.json: $.pay: oneOf",
		`{"id":"secret","customer":1,"items":{},"labels":[]}`:                                                                     "body does not match order.json: $.customer: type (want object); $.id: type (want integer); $.items: type (want array); and more",
		``:                  "body is empty; want JSON (schema order.json)",
		" \n":               "body is empty; want JSON (schema order.json)",
		`{"id":secret}`:     "body is not valid JSON (wrong at byte 7) (schema order.json)",
		`{"id":1`:           "body is not valid JSON (it ends too early) (schema order.json)",
		`{} {"secret":1}`:   "body is not valid JSON (more data after the end of the value) (schema order.json)",
		"{\"id\":\"\xff\"}": "body is not valid UTF-8 (schema order.json)",
		"\ufeff{}":          "body is not valid JSON (wrong at byte 1) (schema order.json)",
		strings.Repeat("[", 65) + strings.Repeat("]", 65): "body is nested deeper than 64 levels (schema order.json)",
		`{"id":1e999999999}`:                              "body has a number of more than 1000 characters or with an exponent beyond ±1000 (schema order.json)",
	} {
		err := check(t, v, body)
		if want == "" {
			require.NoError(t, err, body)
			continue
		}
		require.EqualError(t, err, want, body)
		require.NotContains(t, err.Error(), "secret")
		f := failure.Classify(err)
		require.Equal(t, failure.Schema, f.Category)
		require.False(t, f.Downstream)
		require.Equal(t, "json schema", f.Type)
	}
}

func TestViolationsHaveFullPaths(t *testing.T) {
	t.Parallel()
	var items []string
	for range 30 {
		items = append(items, `{"price":1}`)
	}
	items[9], items[10] = `{"price":"x"}`, `{"price":"y"}`
	err := check(t, mustCompile(t, orderSchema), `{"id":1,"customer":{"name":"n","country":"c"},"items":[`+strings.Join(items, ",")+`],"labels":{"a/b~c":1}}`)
	var e *Error
	require.ErrorAs(t, err, &e)
	want := []Violation{
		{Pointer: "/items/9/price", Keyword: "type", Detail: "want number"},
		{Pointer: "/labels/a~1b~0c", Keyword: "type", Detail: "want string"},
	}
	if diff := cmp.Diff(want, e.Violations, cmpopts.IgnoreUnexported(Violation{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Equal mistakes must form one failure group, and different ones must not.
func TestSignaturesAreStable(t *testing.T) {
	t.Parallel()
	v := mustCompile(t, orderSchema)
	signature := func(body string) string {
		f := failure.Classify(check(t, v, body))
		return failure.Signature(failure.SignatureInput{Source: "orders", Category: f.Category, Type: f.Type, Message: f.Message})
	}
	const head = `{"id":1,"customer":{"name":"n","country":"c"},`
	a := signature(head + `"items":[{"price":"x"}]}`)
	require.Equal(t, a, signature(head+`"items":[{},{"price":"y"},{"price":[]}]}`))
	require.NotEqual(t, a, signature(head+`"items":[{"sku":"x"}]}`))
	require.NotEqual(t, a, signature(head+`"labels":{"x":1}}`))
	many := head + `"items":[{"price":"x","sku":"x"}],"labels":{"a":1},"pay":{},"z":1,"y":2}`
	first := signature(many)
	for range 50 {
		require.Equal(t, first, signature(many))
	}
}

func TestNumbersAreExact(t *testing.T) {
	t.Parallel()
	v := mustCompile(t, `{"properties": {
		"max": {"maximum": 9223372036854775807},
		"is": {"const": 9007199254740993},
		"int": {"type": "integer"},
		"step": {"multipleOf": 0.1}
	}}`)
	for _, body := range []string{
		`{"max":9223372036854775807}`, `{"is":9007199254740993}`, `{"int":123456789012345678901234567890}`,
		`{"int":1e3}`, `{"int":1.0}`, `{"step":0.3}`, `{"int":1e1000}`, `{"int":-0}`, `{"x":1E-1000}`,
	} {
		require.NoError(t, check(t, v, body), body)
	}
	for _, body := range []string{
		`{"max":9223372036854775808}`, `{"is":9007199254740992}`, `{"int":1.5}`, `{"int":9007199254740993.1}`, `{"step":0.35}`,
		`{"int":1e1001}`, `{"int":1e-1001}`, `{"int":1E+99999999999999999999}`, `{"int":` + strings.Repeat("9", 1001) + `}`,
	} {
		require.Error(t, check(t, v, body), body)
	}
}

func TestDepth(t *testing.T) {
	t.Parallel()
	v := mustCompile(t, `true`)
	nested := func(n int) string { return strings.Repeat(`{"a":[`, n/2) + strings.Repeat(`]}`, n/2) }
	require.NoError(t, check(t, v, nested(MaxDepth)))
	require.ErrorContains(t, check(t, v, nested(MaxDepth+2)), "nested deeper than 64")
	require.NoError(t, check(t, v, `"`+strings.Repeat(`[{\"`, 100)+`"`))
	require.NoError(t, check(t, v, `["]\\","1e9999","\"[[["]`))
	require.ErrorContains(t, check(t, v, strings.Repeat("[", 1<<20)), "nested deeper")
}

func TestManyExponents(t *testing.T) {
	t.Parallel()
	v := mustCompile(t, `{"items":{"type":"number"}}`)
	list := func(number string, n int) string {
		return "[" + strings.Repeat(number+",", n) + number + "]"
	}
	require.NoError(t, check(t, v, list("1e1000", 250)))
	require.NoError(t, check(t, v, list("1.25e-7", 50_000)))
	require.NoError(t, check(t, v, list("6.02214076e23", 20_000)))
	require.EqualError(t, check(t, v, list("1e1000", 100_000)), "body has too many numbers with large exponents (schema order.json)")
}

func TestContentTypes(t *testing.T) {
	t.Parallel()
	v := mustCompile(t, `{"type":"object"}`)
	for _, ct := range []string{
		"", " ", "application/json", "Application/JSON; charset=UTF-8", "application/cloudevents+json", "application/vnd.api+json; a=b",
		"text/json", "text/plain; charset=us-ascii", "application/octet-stream",
	} {
		require.NoError(t, v.Validate(t.Context(), []byte(`{}`), ct), "%q", ct)
	}
	for _, ct := range []string{"application/xml", "application/x-protobuf", "json", "application/json; charset=utf-16", ";", "secret"} {
		err := v.Validate(t.Context(), []byte(`{}`), ct)
		require.EqualError(t, err, "body has a content type other than JSON (schema order.json)", "%q", ct)
		require.Equal(t, failure.Schema, failure.Classify(err).Category)
	}
}

func TestEndedContext(t *testing.T) {
	t.Parallel()
	cause := errors.New("shutdown")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	require.Same(t, cause, mustCompile(t, `false`).Validate(ctx, []byte(`{}`), ""))
}

func TestDrafts(t *testing.T) {
	t.Parallel()
	for schema, bad := range map[string]string{
		// prefixItems came with 2020-12, which is the default.
		`{"prefixItems":[{"type":"string"}]}`:                                                                                `[1]`,
		`{"$schema":"http://json-schema.org/draft-04/schema#","minimum":1,"exclusiveMinimum":true}`:                          `1`,
		`{"$schema":"http://json-schema.org/draft-06/schema#","contains":{"const":1}}`:                                       `[2]`,
		`{"$schema":"http://json-schema.org/draft-07/schema#","if":{"type":"string"},"then":{"minLength":3}}`:                `"x"`,
		`{"$schema":"http://json-schema.org/draft-07/schema#","format":"date"}`:                                              `"tomorrow"`,
		`{"$schema":"https://json-schema.org/draft/2019-09/schema","dependentRequired":{"a":["b"]}}`:                         `{"a":1}`,
		`{"$schema":"https://json-schema.org/draft/2020-12/schema","$defs":{"a":{"$anchor":"x","type":"null"}},"$ref":"#x"}`: `1`,
		`{"$schema":"http://json-schema.org/draft-07/schema#","dependencies":{"a":["b"]}}`:                                   `{"a":1}`,
		`{"propertyNames":{"maxLength":1}}`:                                                                                  `{"secret":1}`,
		`{"not":{}}`:                                                                                                         `1`,
		`false`:                                                                                                              `1`,
	} {
		err := check(t, mustCompile(t, schema), bad)
		require.Error(t, err, schema)
		require.Equal(t, failure.Schema, failure.Classify(err).Category)
		require.NotContains(t, err.Error(), "secret")
		require.NotContains(t, err.Error(), "tomorrow")
	}
	require.NoError(t, check(t, mustCompile(t, `{"format":"date"}`), `"tomorrow"`))
	require.NoError(t, check(t, mustCompile(t, `{"$schema":"http://json-schema.org/draft-07/schema#","prefixItems":[{"type":"string"}]}`), `[1]`))
}

func TestWrongSchemas(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		``:                                       "schema order.json: is empty",
		`{`:                                      "schema order.json: is not valid JSON",
		`{"type":"objekt"}`:                      "schema order.json: ",
		`{"pattern":"(?=a)"}`:                    "schema order.json: ",
		`{"$ref":"#/$defs/a"}`:                   "schema order.json: ",
		`{"$ref":"other.json"}`:                  "no folder",
		`{"$ref":"https://example.com/x.json"}`:  "no folder",
		`{"$ref":"file:///etc/passwd"}`:          "no folder",
		`{"$schema":"https://example.com/meta"}`: "no folder",
		`{"$id":"https://example.com/a/b.json","$ref":"c.json"}`:       "no folder",
		`{"minimum":1e1000000000}`:                                     "exponent beyond",
		`{"$id":"a b\u0000"}`:                                          "schema order.json: ",
		strings.Repeat(`{"not":`, 65) + `{}` + strings.Repeat(`}`, 65): "nested deeper",
		`"` + strings.Repeat("x", maxFile) + `"`:                       "is larger than",
	} {
		_, err := Compile("order.json", []byte(raw))
		require.ErrorContains(t, err, want, "%.80s", raw)
	}
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func TestLoadReadsTheFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a b%20#?ü")
	write(t, dir, "common.json", `{"$defs":{"id":{"type":"integer"}}}`)
	write(t, dir, "sub/deep name.json", `{"properties":{"id":{"$ref":"../common.json#/$defs/id"}},"required":["id"]}`)
	for i, schema := range []string{
		`{"$ref":"sub/deep%20name.json"}`,
		`{"$id":"https://example.com/schemas/order.json","$ref":"sub/deep%20name.json"}`,
		`{"$id":"https://example.com/schemas/order.json","$ref":"https://example.com/schemas/sub/deep%20name.json"}`,
		`{"$schema":"http://json-schema.org/draft-04/schema#","id":"https://example.com/order.json#","allOf":[{"$ref":"sub/deep%20name.json"}]}`,
	} {
		v, err := Load(write(t, dir, fmt.Sprintf("order%d.json", i), schema))
		require.NoError(t, err, schema)
		require.NoError(t, check(t, v, `{"id":1}`), schema)
		require.EqualError(t, check(t, v, `{"id":"x"}`), fmt.Sprintf("body does not match order%d.json: $.id: type (want integer)", i))
	}
}

// A mounted Kubernetes ConfigMap is a folder of links to a folder beside it.
func TestLoadFollowsLinksInsideTheFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "..2026/order.json", `{"$ref":"id.json"}`)
	write(t, dir, "..2026/id.json", `{"type":"integer"}`)
	require.NoError(t, os.Symlink("..2026", filepath.Join(dir, "..data")))
	require.NoError(t, os.Symlink("..data/order.json", filepath.Join(dir, "order.json")))
	require.NoError(t, os.Symlink("..data/id.json", filepath.Join(dir, "id.json")))
	v, err := Load(filepath.Join(dir, "order.json"))
	require.NoError(t, err)
	require.NoError(t, check(t, v, `1`))
	require.Error(t, check(t, v, `"x"`))
}

func TestLoadRefusesEverythingElse(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	dir := filepath.Join(top, "schemas")
	outside := write(t, top, "outside.json", `{"type":"integer"}`)
	write(t, dir, "ok.json", `true`)
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "link.json")))
	require.NoError(t, os.Symlink("../outside.json", filepath.Join(dir, "relative.json")))
	for _, ref := range []string{
		"../outside.json", "%2e%2e/outside.json", "..%2foutside.json", "a/../../outside.json", outside, "file://" + outside,
		"link.json", "relative.json", "file:///etc/passwd", "file://host" + dir + "/ok.json", "//host/ok.json",
		"http://127.0.0.1:1/x.json", "https://example.com/x.json", "ftp://h/x", "data:application/json,true", "jar:x", "missing.json", ".", "",
		"redrive:/schema.json", "C:\\\\x.json", "ok.json%00",
	} {
		file := write(t, dir, "order.json", fmt.Sprintf(`{"allOf":[{"$ref":%q}]}`, ref))
		if ref == "" {
			continue // Refers to itself, which is a cycle and not a read.
		}
		_, err := Load(file)
		require.Error(t, err, ref)
		require.Contains(t, err.Error(), "schema "+file, ref)
	}
	file := write(t, dir, "order.json", `{"$id":"https://example.com/a/order.json","$ref":"../ok.json"}`)
	_, err := Load(file)
	require.ErrorContains(t, err, "nothing is fetched; put it there")
	for _, bad := range []string{filepath.Join(dir, "nothing.json"), dir, filepath.Join(dir, "no", "x.json")} {
		_, err := Load(bad)
		require.ErrorContains(t, err, "schema "+bad)
	}
	write(t, dir, "broken.json", `{"a":`)
	_, err = Load(write(t, dir, "order.json", `{"$ref":"broken.json"}`))
	require.ErrorContains(t, err, "broken.json is not valid JSON")
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	v := mustCompile(t, orderSchema)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 200 {
				err := v.Validate(t.Context(), []byte(`{"id":"x"}`), "")
				if i%2 == 0 {
					err = v.Validate(t.Context(), []byte(`{"id":1}`), "")
				}
				if err == nil {
					t.Error("passed")
				}
			}
		})
	}
	wg.Wait()
}

func TestManyViolationsStaySmall(t *testing.T) {
	t.Parallel()
	v := mustCompile(t, `{"items":{"type":"object","additionalProperties":false}}`)
	err := check(t, v, `[`+strings.Repeat(`1,{"secret":1},`, 2000)+`{}]`)
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Len(t, e.Violations, 2)
	require.EqualError(t, err, "body does not match order.json: $[]: additionalProperties; $[]: type (want object)")
	var props []string
	for i := range 200 {
		props = append(props, fmt.Sprintf(`"p%d":false`, i))
	}
	err = check(t, mustCompile(t, `{"properties":{`+strings.Join(props, ",")+`}}`), strings.ReplaceAll(`{`+strings.Join(props, ",")+`}`, "false", "1"))
	require.ErrorAs(t, err, &e)
	require.Len(t, e.Violations, maxViolations)
	require.True(t, strings.HasSuffix(err.Error(), "; and more"))
}

// FuzzValidate feeds anything to a schema that uses most of the keywords.
func FuzzValidate(f *testing.F) {
	v := mustCompile(f, `{"$defs":{"node":{"type":["object","array","number","string","null"],
		"properties":{"n":{"$ref":"#/$defs/node"},"i":{"type":"integer","multipleOf":3,"minimum":-5},"s":{"pattern":"^a+$","minLength":2},
		"u":{"uniqueItems":true,"contains":{"const":1}},"e":{"enum":[1,"a",null,{"x":1.0}]},"d":{"format":"date-time"}},
		"patternProperties":{"^x":{"type":"boolean"}},"propertyNames":{"maxLength":5},"dependentRequired":{"i":["s"]},
		"items":{"$ref":"#/$defs/node"},"anyOf":[{"minProperties":1},{"maxItems":3}],"not":{"const":7},
		"if":{"required":["e"]},"then":{"required":["d"]},"unevaluatedProperties":false}},"$ref":"#/$defs/node"}`)
	for _, s := range []string{`{"n":{"i":1e5},"x1":2}`, `[[[1]],{"u":[1,1.0,{}]}]`, `1e999999`, `{"s":"`, "\xff", `{"e":{"x":1}}`, `-`, `0x1`} {
		f.Add([]byte(s), "application/json")
	}
	f.Fuzz(func(t *testing.T, body []byte, contentType string) {
		err := v.Validate(t.Context(), body, contentType)
		if err == nil {
			if !json.Valid(body) {
				t.Fatalf("%q is no JSON and passed", body)
			}
			return
		}
		if c := failure.Classify(err); c.Category != failure.Schema {
			t.Fatalf("category %v", c.Category)
		}
		if again := v.Validate(t.Context(), body, contentType); again == nil || again.Error() != err.Error() {
			t.Fatalf("%v, then %v", err, again)
		}
		if len(err.Error()) > 2048 {
			t.Fatalf("%d bytes of text", len(err.Error()))
		}
	})
}

// FuzzCompile compiles anything.
func FuzzCompile(f *testing.F) {
	for _, s := range []string{orderSchema, `{"$ref":"x"}`, `{"$id":"::"}`, `{"multipleOf":0}`, `{"$dynamicRef":"#a","$dynamicAnchor":"a"}`, `{"$schema":"http://json-schema.org/draft-04/schema#","id":"#a"}`} {
		f.Add([]byte(s), []byte(`{"a":[1]}`))
	}
	f.Fuzz(func(t *testing.T, schema, body []byte) {
		v, err := Compile("fuzz", schema)
		if err == nil {
			_ = v.Validate(t.Context(), body, "")
		}
	})
}

func BenchmarkValidate(b *testing.B) {
	v := mustCompile(b, orderSchema)
	body := []byte(`{"id":18446744073709551615,"customer":{"name":"n","country":"c"},"items":[{"price":1.5,"sku":"A"},{"price":2,"sku":"B"}],"labels":{"a":"b"}}`)
	b.ReportAllocs()
	for b.Loop() {
		if err := v.Validate(b.Context(), body, "application/json"); err != nil {
			b.Fatal(err)
		}
	}
}
