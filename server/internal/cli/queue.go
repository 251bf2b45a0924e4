package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/server/internal/config"
)

func queueCommand(c *call) *cobra.Command {
	group := c.group("queue", "Look at the queues of the brokers", "")
	group.AddCommand(queueListCommand(c), queuePeekCommand(c))
	return group
}

// queueRow is a queue as queue ls prints it.
type queueRow struct {
	Broker   string           `json:"broker"`
	Name     string           `json:"name"`
	Kind     broker.QueueKind `json:"kind"`
	Groups   []string         `json:"groups"`
	Depth    int64            `json:"depth"`
	Ready    int64            `json:"ready"`
	InFlight int64            `json:"in_flight"`
	Delayed  int64            `json:"delayed"`
	// Oldest is when the oldest message was stored.
	Oldest    *time.Time `json:"oldest,omitempty"`
	OldestAge *float64   `json:"oldest_age_seconds,omitempty"`
	// Exact says that the counts are no estimates.
	Exact bool      `json:"exact"`
	AsOf  time.Time `json:"as_of,omitzero"`
	// Error says why there are no figures.
	Error string `json:"error,omitempty"`
}

func queueListCommand(c *call) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "ls", Short: "List queues with their depth and age", Args: cobra.NoArgs,
		Long: `Lists the queues of every configured broker: sources, retry queues, dead-letter
queues and quarantines. Looking changes nothing.`,
		Example: "  redrive queue ls\n  redrive queue ls -o json --jq '.[] | select(.kind == \"dead-letter\" and .depth > 0) | .name'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := c.load(cmd)
			if err != nil {
				return err
			}
			names := slices.Sorted(maps.Keys(l.Config.Brokers))
			if name != "" {
				if name, err = brokerFor(l, "", name); err != nil {
					return err
				}
				names = []string{name}
			}
			var rows []queueRow
			var errs []error
			for _, name := range names {
				found, err := c.listQueues(cmd, l, name)
				rows = append(rows, found...)
				errs = append(errs, err)
			}
			errs = append([]error{printList(c, rows, func(r queueRow) string { return r.Name }, queueColumns(len(names) == 1))}, errs...)
			return hinted(cmd.Context(), errors.Join(errs...))
		},
	}
	brokerFlag(cmd, &name)
	return cmd
}

// listQueues lists the queues of one broker. Queues whose figures cannot be read
// are listed without them, and make an error.
func (c *call) listQueues(cmd *cobra.Command, l *config.Loaded, name string) (rows []queueRow, err error) {
	ctx := cmd.Context()
	conn, err := c.connect(cmd, l, name, false)
	if c.Services.NoData != nil && errors.Is(err, c.Services.NoData) {
		c.note("%v; there are no queues", err)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer disconnect(ctx, conn, &err)
	queues, err := conn.Topology().Queues(ctx)
	if err != nil {
		return nil, fmt.Errorf("broker %s: %w", name, err)
	}
	var errs []error
	for _, q := range queues {
		if q.Kind == broker.KindOutcomes || q.Kind == broker.KindHeartbeats {
			continue // what workers report: there are no messages in them
		}
		row, err := c.queueRow(ctx, conn, name, q)
		if err != nil {
			errs = append(errs, fmt.Errorf("broker %s: %w", name, err))
		}
		rows = append(rows, row)
	}
	return rows, errors.Join(errs...)
}

func (c *call) queueRow(ctx context.Context, conn broker.Broker, name string, q broker.Queue) (queueRow, error) {
	row := queueRow{Broker: name, Name: q.Name, Kind: q.Kind, Groups: q.Groups}
	if row.Groups == nil {
		row.Groups = []string{}
	}
	stats, err := conn.Stats(ctx, q.Name)
	if err != nil {
		row.Error = err.Error()
		return row, err
	}
	row.Ready, row.InFlight, row.Delayed, row.Depth = stats.Ready, stats.InFlight, stats.Delayed, stats.Depth()
	row.Exact, row.AsOf = stats.Exact, stats.AsOf.UTC()
	if !stats.Oldest.IsZero() {
		oldest := stats.Oldest.UTC()
		age := max(c.Now().Sub(oldest), 0).Seconds()
		row.Oldest, row.OldestAge = &oldest, &age
	}
	return row, nil
}

func queueColumns(oneBroker bool) []column[queueRow] {
	figure := func(n func(queueRow) int64) func(queueRow) string {
		return func(r queueRow) string {
			switch {
			case r.Error != "":
				return "?"
			case !r.Exact:
				return "~" + strconv.FormatInt(n(r), 10)
			}
			return strconv.FormatInt(n(r), 10)
		}
	}
	return []column[queueRow]{
		{Head: "BROKER", Wide: oneBroker, Value: func(r queueRow) string { return r.Broker }},
		{Head: "QUEUE", Value: func(r queueRow) string { return r.Name }},
		{Head: "KIND", Value: func(r queueRow) string { return string(r.Kind) }},
		{Head: "GROUPS", Value: func(r queueRow) string { return dash(strings.Join(r.Groups, ",")) }},
		{Head: "DEPTH", Value: figure(func(r queueRow) int64 { return r.Depth })},
		{Head: "READY", Wide: true, Value: figure(func(r queueRow) int64 { return r.Ready })},
		{Head: "IN-FLIGHT", Value: figure(func(r queueRow) int64 { return r.InFlight })},
		{Head: "DELAYED", Value: figure(func(r queueRow) int64 { return r.Delayed })},
		{Head: "OLDEST", Value: func(r queueRow) string {
			if r.OldestAge == nil {
				return "-"
			}
			return span(time.Duration(*r.OldestAge * float64(time.Second)))
		}},
		{Head: "STORED", Wide: true, Value: func(r queueRow) string {
			if r.Oldest == nil {
				return "-"
			}
			return r.Oldest.Format(time.RFC3339)
		}},
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// span is a duration for people: its two largest units.
func span(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + "s"
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%02dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}
