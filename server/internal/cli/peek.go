package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/redrive-dev/redrive/broker"
)

// peekFlags are the flags of queue peek.
type peekFlags struct {
	broker, from  string
	number, bytes int
	accept        bool
}

func queuePeekCommand(c *call) *cobra.Command {
	var f peekFlags
	cmd := &cobra.Command{
		Use: "peek queue", Short: "Show the messages of a queue", Args: cobra.ExactArgs(1),
		Long: `Shows the oldest messages of a queue: why each is where it is, its headers and
the beginning of its body. Whatever a message holds, it is shown escaped; -o json
has the whole body, in base64 if it is not UTF-8.

Where the broker cannot look without an effect, the effect is named and nothing
is read unless --accept-effects is given. Where it can only be read by taking the
messages out, the command refuses.`,
		Example: "  redrive queue peek orders.dlq\n  redrive queue peek orders.dlq -n 1 -o json --jq '.[0].body | fromjson'",
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.number < 1 || f.number > maxPeek {
				return usageError(fmt.Sprintf("use 1 to %d, and --from to go on from a cursor", maxPeek), "-n %d is out of range", f.number)
			}
			if f.bytes < 0 {
				return usageError("use 0 for no body", "--bytes %d is negative", f.bytes)
			}
			l, err := c.load(cmd)
			if err != nil {
				return err
			}
			if f.broker, err = brokerFor(l, args[0], f.broker); err != nil {
				return err
			}
			conn, err := c.connect(cmd, l, f.broker, false)
			if err != nil {
				return hinted(cmd.Context(), err)
			}
			err = c.peek(cmd.Context(), conn, args[0], f)
			disconnect(cmd.Context(), conn, &err)
			return hinted(cmd.Context(), err)
		},
	}
	cmd.Flags().IntVarP(&f.number, "number", "n", 10, "most messages to show")
	cmd.Flags().StringVar(&f.from, "from", "", "go on from a `cursor` that an earlier look printed")
	cmd.Flags().IntVar(&f.bytes, "bytes", 512, "most bytes of each body to show; -o wide shows everything")
	cmd.Flags().BoolVar(&f.accept, "accept-effects", false, "look even where looking counts as a delivery or hides messages for a while")
	brokerFlag(cmd, &f.broker)
	return cmd
}

// maxPeek bounds what one look keeps in memory.
const maxPeek = 10_000

func (c *call) peek(ctx context.Context, conn broker.Broker, queue string, f peekFlags) error {
	letters, err := conn.Letters(ctx, queue)
	if errors.Is(err, broker.ErrUnroutable) {
		return queueNotFound(queue)
	}
	if err != nil {
		return err
	}
	if err := acceptable(letters.Mode(), queue, f.accept); err != nil {
		return err
	}
	rows, next, err := c.scan(ctx, letters, queue, f)
	if err != nil {
		return err
	}
	if len(rows) == 0 && f.from == "" {
		if err := exists(ctx, conn, queue); err != nil {
			return err
		}
	}
	if err := c.printLetters(rows, f); err != nil {
		return err
	}
	switch {
	case len(rows) == 0:
		c.note("%s: no messages", escaped([]byte(queue)))
	case len(rows) == f.number:
		c.note("showing %s; go on with --from %s", count(len(rows), "message"), shellWord(string(next)))
	}
	return nil
}

// acceptable refuses a look that has an effect, unless the person accepts it.
func acceptable(mode broker.Mode, queue string, accepted bool) error {
	hint := "add --accept-effects if that is what you want"
	switch mode {
	case broker.Observe:
		return nil
	case broker.PeekCounts:
		if accepted {
			return nil
		}
		return usageError(hint, "looking at %s counts as a delivery of each message or hides it from consumers for a while", queue)
	case broker.DrainOnly:
		// Whatever was accepted: the broker has no way to look.
		return usageError("redrive queue ls tells how many there are", "messages of %s can only be read by taking them out: this broker cannot look", queue)
	}
	return usageError("", "the broker does not say what looking at %s does to it", queue)
}

// scan reads up to the number of letters that was asked for.
func (c *call) scan(ctx context.Context, letters broker.Letters, queue string, f peekFlags) ([]letterRow, broker.Cursor, error) {
	const batch = 100
	var rows []letterRow
	cursor := broker.Cursor(f.from)
	for len(rows) < f.number {
		want := min(batch, f.number-len(rows))
		found, next, err := letters.Scan(ctx, cursor, want)
		if err != nil {
			return nil, cursor, err
		}
		for i := range found {
			rows = append(rows, newLetterRow(queue, &found[i]))
		}
		cursor = next
		if len(found) < want {
			break
		}
	}
	return rows, cursor, nil
}

// exists tells an empty queue from one that is not there.
func exists(ctx context.Context, conn broker.Broker, queue string) error {
	queues, err := conn.Topology().Queues(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(queues, func(q broker.Queue) bool { return q.Name == queue }) {
		return queueNotFound(queue)
	}
	return nil
}
