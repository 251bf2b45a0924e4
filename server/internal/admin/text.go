package admin

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// family is one metric with all its samples.
type family struct {
	name, help string
	// kind is "counter" or "gauge".
	kind    string
	samples []sample
}

// sample is one line: labels in the order in which they are written, names and
// values in turn.
type sample struct {
	labels []string
	value  float64
}

func (f *family) add(value float64, labels ...string) {
	f.samples = append(f.samples, sample{labels: labels, value: value})
}

// text writes families in the Prometheus text format, version 0.0.4. Families
// without samples are left out, and samples are sorted, so that two scrapes of
// the same state are the same bytes.
func text(families []*family) []byte {
	var b bytes.Buffer
	for _, f := range families {
		if len(f.samples) == 0 {
			continue
		}
		b.WriteString("# HELP " + f.name + " " + escapeHelp(f.help) + "\n")
		b.WriteString("# TYPE " + f.name + " " + f.kind + "\n")
		lines := make([]string, len(f.samples))
		for i, s := range f.samples {
			lines[i] = f.name + labelText(s.labels) + " " + number(s.value) + "\n"
		}
		slices.Sort(lines)
		for _, line := range lines {
			b.WriteString(line)
		}
	}
	return b.Bytes()
}

func labelText(labels []string) string {
	if len(labels) == 0 {
		return ""
	}
	var b strings.Builder
	for i := 0; i+1 < len(labels); i += 2 {
		b.WriteByte("{,"[min(i, 1)])
		b.WriteString(labels[i] + `="` + escapeLabel(labels[i+1]) + `"`)
	}
	b.WriteByte('}')
	return b.String()
}

// escapeHelp and escapeLabel differ: a quotation mark ends a label only.
func escapeHelp(s string) string {
	return strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(strings.ToValidUTF8(s, "\uFFFD"))
}

func escapeLabel(s string) string {
	return strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`).Replace(strings.ToValidUTF8(s, "\uFFFD"))
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
