package cli

import (
	"testing"

	"github.com/stretchr/testify/require"
)

type thing struct {
	Name   string   `json:"name"`
	Number int64    `json:"number"`
	Tags   []string `json:"tags"`
}

func TestPrintList(t *testing.T) {
	t.Parallel()
	things := []thing{{"a", 9007199254740993, []string{"x", "y"}}, {"b\x1b[2J\tc\n", 2, nil}}
	tests := []struct {
		name  string
		flags globals
		items []thing
		want  string
	}{
		{"table", globals{}, things, "NAME      TAGS\na         2\nb\uFFFD[2J c   0\n"},
		{"wide", globals{output: "wide"}, things[:1], "NAME  TAGS  NUMBER\na     2     9007199254740993\n"},
		{"name", globals{output: "name"}, things, "a\nb\uFFFD[2J c \n"},
		{"json", globals{output: "json"}, things[:1], "[\n  {\n    \"name\": \"a\",\n    \"number\": 9007199254740993,\n    \"tags\": [\n      \"x\",\n      \"y\"\n    ]\n  }\n]\n"},
		{"jsonl", globals{output: "jsonl"}, things, "{\"name\":\"a\",\"number\":9007199254740993,\"tags\":[\"x\",\"y\"]}\n{\"name\":\"b\\u001b[2J\\tc\\n\",\"number\":2,\"tags\":null}\n"},
		{"yaml", globals{output: "yaml"}, things, "- name: a\n  number: 9007199254740993\n  tags:\n    - x\n    - y\n- name: \"b\\e[2J\\tc\\n\"\n  number: 2\n  tags: null\n"},
		{"yaml of text that looks like something else", globals{output: "yaml"}, []thing{{"true", 1, []string{"5", "null", "~"}}}, "- name: \"true\"\n  number: 1\n  tags:\n    - \"5\"\n    - \"null\"\n    - \"~\"\n"},
		{"empty table", globals{}, nil, ""},
		{"empty json", globals{output: "json"}, nil, "[]\n"},
		{"empty jsonl", globals{output: "jsonl"}, nil, ""},
		{"empty yaml", globals{output: "yaml"}, nil, "[]\n"},
		{"filter keeps all digits", globals{jq: ".[0].number"}, things, "9007199254740993\n"},
		{"filter to text", globals{jq: ".[].name"}, things[:1], "a\n"},
		{"filter to text, as lines", globals{jq: ".[].name", output: "jsonl"}, things[:1], "\"a\"\n"},
		{"filter to a list of lines", globals{jq: ".[0].tags", output: "jsonl"}, things, "\"x\"\n\"y\"\n"},
		{"filter to nothing", globals{jq: "empty"}, things, ""},
		{"filter that ends early", globals{jq: ".[0].name, halt, 1"}, things, "a\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newConsole("", false)
			err := printList(&call{App: c.App, flags: tt.flags}, tt.items, func(x thing) string { return x.Name }, []column[thing]{
				{Head: "NAME", Value: func(x thing) string { return x.Name }},
				{Head: "TAGS", Value: func(x thing) string { return count(len(x.Tags), "")[:1] }},
				{Head: "NUMBER", Wide: true, Value: func(x thing) string {
					require.NotZero(t, x.Number)
					return "9007199254740993"
				}},
			})
			require.NoError(t, err)
			require.Equal(t, tt.want, c.out.String())
		})
	}
}

func TestFilterErrors(t *testing.T) {
	t.Parallel()
	for _, jq := range []string{".[", "nonsense(1)", ".[0].name.x"} {
		c := newConsole("", false)
		err := (&call{App: c.App, flags: globals{jq: jq}}).printData([]thing{{Name: "a"}}, "json")
		require.Error(t, err, jq)
		require.Empty(t, c.out.String())
	}
}
