//go:build unix

package main

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/internal/servertest"
	"github.com/redrive-dev/redrive/server/app"
	"github.com/redrive-dev/redrive/server/internal/config"
)

func brokersPage(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "brokers.md"))
	require.NoError(t, err)
	return string(text)
}

// Every rule by which an adapter refuses a queue stands on the page, and no other.
func TestRulesAreDocumented(t *testing.T) {
	t.Parallel()
	rule := regexp.MustCompile(`^(nats|kafka|rabbitmq|sqs)-[a-z][a-z-]*$`)
	var inCode []string
	for _, adapter := range []string{"redrivenats", "redrivekafka", "redriverabbitmq", "redrivesqs"} {
		files, err := filepath.Glob(filepath.Join("..", "..", "..", adapter, "*.go"))
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			require.NoError(t, err)
			ast.Inspect(file, func(n ast.Node) bool {
				spec, ok := n.(*ast.ValueSpec)
				if !ok || !strings.HasPrefix(spec.Names[0].Name, "Rule") {
					return true
				}
				for _, value := range spec.Values {
					if literal, ok := value.(*ast.BasicLit); ok && literal.Kind == token.STRING {
						id, err := strconv.Unquote(literal.Value)
						require.NoError(t, err)
						require.Regexp(t, rule, id)
						inCode = append(inCode, id)
					}
				}
				return true
			})
		}
	}
	var onPage []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllStringSubmatch(brokersPage(t), -1) {
		onPage = append(onPage, m[1])
	}
	slices.Sort(inCode)
	slices.Sort(onPage)
	require.NotEmpty(t, inCode)
	require.Equal(t, inCode, onPage, "docs/brokers.md and the rules of the adapters")
}

// The table of the page is what real servers say.
func TestCapsAreDocumented(t *testing.T) {
	// Variables of the process are set, so that nothing runs beside it.
	t.Setenv("AWS_ACCESS_KEY_ID", "any")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "any")
	kafka := servertest.Kafka(t, servertest.Options{Shared: true})
	rabbit := servertest.RabbitMQ(t, "4.3", servertest.Options{Shared: true})
	sqs := servertest.SQS(t, servertest.Options{Shared: true})
	rabbitUser := config.SecretFromValue("redrive")
	region := config.Broker{Type: config.BrokerSQS, Endpoint: sqs.URL, Region: "elasticmq"}
	columns := []struct {
		queue  string
		broker config.Broker
	}{
		{"caps", config.Broker{Type: config.BrokerNATS, URL: natsServer(t)}},
		{"caps", config.Broker{Type: config.BrokerKafka, URL: kafka.URL}},
		{"caps", config.Broker{
			Type: config.BrokerRabbitMQ, URL: withoutUser(t, rabbit.URL), ManagementURL: withoutUser(t, rabbit.Settings["management"]),
			User: "redrive", Password: rabbitUser,
		}},
		{"caps", region},
		{"caps.fifo", region},
	}
	var caps []broker.Caps
	for _, c := range columns {
		caps = append(caps, capsOf(t, c.broker, c.queue))
	}
	var lines strings.Builder
	lines.WriteString("| | NATS | Kafka | RabbitMQ | SQS | SQS FIFO |\n|---|---|---|---|---|---|\n")
	for _, row := range capsRows() {
		cells := []string{row.name}
		for _, c := range caps {
			cells = append(cells, row.cell(c))
		}
		lines.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
	table := lines.String()
	page := brokersPage(t)
	_, rest, ok := strings.Cut(page, "<!-- caps -->\n")
	require.True(t, ok)
	shown, _, ok := strings.Cut(rest, "<!-- end of caps -->")
	require.True(t, ok)
	require.Equal(t, table, shown, "docs/brokers.md should have\n%s", table)
}

type capsRow struct {
	name string
	cell func(broker.Caps) string
}

func capsRows() []capsRow {
	yes := func(b bool) string {
		if b {
			return "yes"
		}
		return "no"
	}
	span := func(d time.Duration) string {
		switch {
		case d == 0:
			return "any"
		case d%time.Hour == 0:
			return fmt.Sprintf("%d h", d/time.Hour)
		case d%time.Minute == 0:
			return fmt.Sprintf("%d min", d/time.Minute)
		}
		return d.String()
	}
	return []capsRow{
		{"a message that kills its process is found", func(c broker.Caps) string { return yes(c.Marks) }},
		{"deliveries are counted", func(c broker.Caps) string {
			return map[broker.CountKind]string{
				broker.CountNone: "no", broker.CountFlag: "only whether there was one", broker.CountApproximate: "approximately", broker.CountExact: "exactly",
			}[c.Count]
		}},
		{"every message has an identity", func(c broker.Caps) string { return yes(c.StableIdentity) }},
		{"one key stays in order", func(c broker.Caps) string { return yes(c.Ordered) }},
		{"a repeated publication is dropped", func(c broker.Caps) string {
			if c.DedupeWindow == 0 {
				return "no"
			}
			return "for " + span(c.DedupeWindow)
		}},
		{"dead letters can be looked at", func(c broker.Caps) string {
			return map[broker.Mode]string{broker.Observe: "yes", broker.PeekCounts: "with effects", broker.DrainOnly: "by taking"}[c.LettersMode]
		}},
		{"several groups read one queue", func(c broker.Caps) string { return yes(!c.OneGroup) }},
		{"longest delay of a retry", func(c broker.Caps) string { return span(c.MaxDelay) }},
		{"longest hold", func(c broker.Caps) string { return span(c.MaxHold) }},
		{"largest message", func(c broker.Caps) string {
			if c.MaxMessage == 0 {
				return "unknown"
			}
			return fmt.Sprintf("%d KiB", c.MaxMessage>>10)
		}},
	}
}

func capsOf(t *testing.T, b config.Broker, queue string) broker.Caps {
	t.Helper()
	conn, err := app.Connect(t.Context(), demoConfig(b, t.TempDir()), demoBroker, app.ConnectOptions{})
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) }()
	caps, err := conn.Caps(t.Context(), queue)
	require.NoError(t, err)
	return caps
}
