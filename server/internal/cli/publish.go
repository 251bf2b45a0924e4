package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/server/internal/config"
	"github.com/redrive-dev/redrive/server/internal/records"
)

// publishFlags are the flags of publish.
type publishFlags struct {
	broker, file, format, id, key string
	headers                       []string
	from                          int
	ttl                           time.Duration
	maxSize                       string
	skipInvalid                   bool
}

const publishLong = `Publishes the records of a file as messages, in their order, each confirmed by the
broker before the next batch is sent.

Formats: array (a JSON array, one message per element), ndjson (one JSON value a
line), raw (the file is one message). auto takes a name that ends in .ndjson or
.jsonl as ndjson, a file that begins with "[" as array, one whose first line is a
JSON value as ndjson, and everything else as raw. The bytes of a record are sent
as they stand. Records of array and ndjson get the header Content-Type:
application/json unless --header sets it.

Every record has a fixed publish id, made of the SHA-256 of the file and the
number of the record, or of --id and the number. A broker drops a repeat within
its window, and an inbox recognises it later. So after an interruption or an
error, go on with --from and the record that was named: everything before it is
confirmed. To publish the same file again on purpose, give another --id.

Standard input (--file -) is kept in a temporary file first, to know its SHA-256;
with --id it is published as it comes.

The exit code is 3 if records were refused or skipped.`

func publishCommand(c *call) *cobra.Command {
	var f publishFlags
	cmd := &cobra.Command{
		Use: "publish queue", Short: "Publish the records of a file", Long: publishLong, Args: cobra.ExactArgs(1),
		Example: "  redrive publish orders --file orders.ndjson\n  redrive publish orders --file orders.json --from 1200\n  generate | redrive publish orders --file - --id run-17 --header tenant=acme --ttl 1h",
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := c.publication(args[0], &f)
			if err != nil {
				return err
			}
			l, err := c.load(cmd)
			if err != nil {
				return err
			}
			if f.broker, err = brokerFor(l, p.queue, f.broker); err != nil {
				return err
			}
			return c.publish(cmd, l, p)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.file, "file", "f", "", "`file` with the records, - for standard input (required)")
	flags.StringVar(&f.format, "format", string(records.Auto), "`format` of the file: "+strings.Join(records.Formats(), ", "))
	flags.StringVar(&f.id, "id", "", "`prefix` of the publish ids, in place of the digest of the file")
	flags.IntVar(&f.from, "from", 1, "number of the first `record` to publish")
	flags.StringVar(&f.key, "key", "", "partition or group `key` of every message")
	flags.StringArrayVar(&f.headers, "header", nil, "`name=value` of a header of every message; may be repeated")
	flags.DurationVar(&f.ttl, "ttl", 0, "time to live of every message, such as 1h; older ones are dead-lettered as expired")
	flags.StringVar(&f.maxSize, "max-size", "1GiB", "most `bytes` of standard input to keep in a temporary file")
	flags.BoolVar(&f.skipInvalid, "skip-invalid", false, "go on after a malformed record; not possible inside a JSON array")
	brokerFlag(cmd, &f.broker)
	complete(cmd, "format", records.Formats())
	return cmd
}

// publication is what the command line asks for, checked.
type publication struct {
	queue   string
	opt     *publishFlags
	format  records.Format
	headers []broker.Header
	maxSize int64
	// askedBroker says that the person named the broker.
	askedBroker bool
}

// publication checks the command line and reports the first thing that is wrong.
func (c *call) publication(queue string, f *publishFlags) (*publication, error) {
	p := &publication{queue: queue, opt: f, askedBroker: f.broker != ""}
	if f.file == "" {
		return nil, usageError("name one, or - for standard input", "--file is missing")
	}
	if kind := broker.KindOf(queue); kind != broker.KindSource {
		return nil, usageError("publish to the source of a subscription", "%s is the name of a %s queue, which redrive alone fills", queue, kind)
	}
	var err error
	if p.format, err = records.ParseFormat(f.format); err != nil {
		return nil, usageError("", "--format: %w", err)
	}
	if f.from < 1 {
		return nil, usageError("records count from 1", "--from %d is not the number of a record", f.from)
	}
	if f.ttl < 0 {
		return nil, usageError("give a duration such as 1h", "--ttl %s is negative", f.ttl)
	}
	size, err := config.ParseSize(f.maxSize)
	if err != nil || size <= 0 {
		return nil, usageError("give a size such as 500MiB", "--max-size %q is not a size", f.maxSize)
	}
	p.maxSize = int64(size)
	for _, h := range f.headers {
		name, value, ok := strings.Cut(h, "=")
		if !ok || name == "" {
			return nil, usageError("write name=value", "--header %q has no name and value", h)
		}
		if lower := strings.ToLower(name); lower == broker.HeaderEnvelope || strings.HasPrefix(lower, "redrive-") {
			return nil, usageError("choose another name, or use --ttl for the time to live", "--header %s: redrive sets headers of this name itself", name)
		}
		p.headers = append(p.headers, broker.Header{Name: name, Value: []byte(value)})
	}
	return p, nil
}

// publish connects, publishes and prints the summary.
func (c *call) publish(cmd *cobra.Command, l *config.Loaded, p *publication) (err error) {
	ctx := cmd.Context()
	in, err := c.openInput(ctx, p)
	if err != nil {
		return hinted(ctx, err)
	}
	defer func() { err = errors.Join(err, in.close()) }()
	conn, err := c.connect(cmd, l, p.opt.broker, true)
	if err != nil {
		return hinted(ctx, err)
	}
	defer disconnect(ctx, conn, &err)
	if err := ensureSources(ctx, conn, l, p); err != nil {
		return hinted(ctx, err)
	}
	run := &publisher{
		call: c, publication: p, conn: conn, in: in, started: c.Now(),
		progress: newProgress(c, in.size),
	}
	stopped := run.run(ctx)
	run.progress.end()
	summary := run.summary(stopped)
	if err := printOne(c, summary, p.queue, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, summary.people())
		return err
	}); err != nil {
		return err
	}
	return run.verdict(ctx, stopped)
}

// ensureSources makes the queue if subscriptions of the configuration consume it,
// with the queues of all their groups, so that no group misses a message.
func ensureSources(ctx context.Context, conn Connection, l *config.Loaded, p *publication) error {
	for _, s := range l.Config.Subscriptions {
		if s.Source != p.queue || s.Broker != p.opt.broker {
			continue
		}
		if err := conn.Topology().Ensure(ctx, broker.Spec{Source: s.Source, Group: s.Group, Lease: time.Duration(s.Lease), MaxInFlight: s.MaxInFlight}); err != nil {
			return fmt.Errorf("broker %s: %w", s.Broker, err)
		}
	}
	return nil
}
