package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/itchyny/gojq"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

func formats() []string { return []string{"table", "wide", "json", "yaml", "jsonl", "name"} }

// checkOutput refuses formats and filters that do not exist before a command has
// done anything.
func (c *call) checkOutput(cmd *cobra.Command) error {
	help := "see " + cmd.CommandPath() + " --help"
	if c.flags.output != "" && !slices.Contains(formats(), c.flags.output) {
		return usageError("use one of "+strings.Join(formats(), ", "), "unknown output format %q", c.flags.output)
	}
	if c.flags.jq == "" {
		return nil
	}
	if c.flags.output != "" && c.flags.output != "json" && c.flags.output != "jsonl" {
		return usageError("use --jq with -o json or jsonl, or without -o", "--jq filters JSON, and -o %s is not", c.flags.output)
	}
	if _, err := gojq.Parse(c.flags.jq); err != nil {
		return usageError(help, "--jq %q: %w", c.flags.jq, err)
	}
	return nil
}

// format returns the format to print in.
func (c *call) format(otherwise string) string {
	switch {
	case c.flags.output != "":
		return c.flags.output
	case c.flags.jq != "":
		return "json"
	}
	return otherwise
}

// column is one column of a table.
type column[T any] struct {
	// Head is the title, in capitals.
	Head string
	// Wide columns are shown with -o wide only.
	Wide bool
	// Value returns the cell.
	Value func(T) string
}

// printList prints items of one kind in the format that was asked for. name
// returns what identifies an item, for -o name.
func printList[T any](c *call, items []T, name func(T) string, columns []column[T]) error {
	if items == nil {
		items = []T{}
	}
	switch format := c.format("table"); format {
	case "table", "wide":
		return printTable(c.Stdout, items, columns, format == "wide")
	case "name":
		for _, item := range items {
			if _, err := fmt.Fprintln(c.Stdout, printable(name(item))); err != nil {
				return err
			}
		}
		return nil
	default:
		return c.printData(items, format)
	}
}

// printOne prints one thing. people writes it for people.
func printOne[T any](c *call, item T, name string, people func(io.Writer) error) error {
	switch format := c.format("table"); format {
	case "table", "wide":
		return people(c.Stdout)
	case "name":
		_, err := fmt.Fprintln(c.Stdout, printable(name))
		return err
	default:
		return c.printData(item, format)
	}
}

// printData prints a value as JSON, YAML or one JSON value a line, filtered by
// --jq.
func (c *call) printData(v any, format string) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	values, err := c.filter(data)
	if err != nil {
		return err
	}
	for _, value := range values {
		if err := c.printValue(value, format); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) printValue(v json.RawMessage, format string) error {
	var out bytes.Buffer
	switch format {
	case "yaml":
		// JSON is YAML, and reading it as YAML keeps the order of the keys.
		var node yaml.Node
		if err := yaml.Unmarshal(v, &node); err != nil {
			return err
		}
		blockStyle(&node)
		encoder := yaml.NewEncoder(&out)
		encoder.SetIndent(2)
		if err := errors.Join(encoder.Encode(&node), encoder.Close()); err != nil {
			return err
		}
	case "jsonl":
		var items []json.RawMessage
		if json.Unmarshal(v, &items) != nil {
			items = []json.RawMessage{v}
		}
		for _, item := range items {
			if err := json.Compact(&out, item); err != nil {
				return err
			}
			out.WriteByte('\n')
		}
	default:
		var text string
		if c.flags.jq != "" && json.Unmarshal(v, &text) == nil {
			// A filter that ends in text is for a shell, which wants no quotes.
			out.WriteString(text + "\n")
			break
		}
		if err := json.Indent(&out, v, "", "  "); err != nil {
			return err
		}
		out.WriteByte('\n')
	}
	_, err := out.WriteTo(c.Stdout)
	return err
}

func blockStyle(n *yaml.Node) {
	if n.Kind == yaml.MappingNode || n.Kind == yaml.SequenceNode {
		n.Style = 0
		for i, child := range n.Content {
			blockStyle(child)
			if n.Kind == yaml.MappingNode && i%2 == 0 {
				child.Style = 0
			}
		}
	}
	if n.Kind == yaml.DocumentNode {
		for _, child := range n.Content {
			blockStyle(child)
		}
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		// The encoder quotes again what needs quotes.
		n.Style = 0
	}
}

// filter applies --jq, or returns the data as it is. Numbers keep all their
// digits.
func (c *call) filter(data []byte) ([]json.RawMessage, error) {
	if c.flags.jq == "" {
		return []json.RawMessage{data}, nil
	}
	query, err := gojq.Parse(c.flags.jq)
	if err != nil {
		return nil, usageError("", "--jq %q: %w", c.flags.jq, err)
	}
	code, err := gojq.Compile(query)
	if err != nil {
		return nil, usageError("", "--jq %q: %w", c.flags.jq, err)
	}
	var input any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(&input); err != nil {
		return nil, err
	}
	var out []json.RawMessage
	for results := code.Run(input); ; {
		v, ok := results.Next()
		if !ok {
			return out, nil
		}
		if err, failed := v.(error); failed {
			var halt *gojq.HaltError
			if errors.As(err, &halt) && halt.Value() == nil {
				return out, nil
			}
			return nil, &Error{Err: fmt.Errorf("--jq: %w", err), Hint: "look at the data with -o json first"}
		}
		text, err := gojq.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("--jq: %w", err)
		}
		out = append(out, text)
	}
}

func printTable[T any](w io.Writer, items []T, columns []column[T], wide bool) error {
	if len(items) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(cell func(column[T]) string) {
		var cells []string
		for _, col := range columns {
			if wide || !col.Wide {
				cells = append(cells, printable(cell(col)))
			}
		}
		_, _ = fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
	line(func(col column[T]) string { return col.Head })
	for _, item := range items {
		line(func(col column[T]) string { return col.Value(item) })
	}
	return table.Flush()
}

// printable makes text that somebody else wrote safe for a terminal and a table:
// control characters would move the cursor, forge lines or worse.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r), r == '\u2028', r == '\u2029', unicode.Is(unicode.Bidi_Control, r):
			return '\uFFFD'
		}
		return r
	}, s)
}
