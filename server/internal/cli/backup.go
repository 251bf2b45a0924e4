package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/redrive-dev/redrive/server/internal/backup"
)

func backupCommand(c *call) *cobra.Command {
	return &cobra.Command{
		Use: "backup FILE|-", Short: "Write the data directory to one file", Args: cobra.ExactArgs(1),
		Long: `Copies the embedded broker's streams, the inbox and the configuration to a file, or
to standard output for -. The file has its name when it is complete and on the
disk, or not at all; an existing one is never changed.

Nobody may use the data directory meanwhile: stop redrive up first. The token of
the embedded broker and secrets outside of the configuration file are not in it.`,
		Example: "  redrive backup redrive-2026-11-22.tar.gz\n  redrive backup - | ssh vault 'cat > redrive.tar.gz'",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.backup(cmd, args[0])
		},
	}
}

func (c *call) backup(cmd *cobra.Command, file string) error {
	stream := file == "-"
	switch {
	case stream && (c.flags.output != "" || c.flags.jq != ""):
		return usageError("leave -o and --jq out, or name a file", "standard output is the backup")
	case stream && c.IsTerminal(c.Stdout):
		return usageError("send it to a file or a program", "a backup is not for a terminal")
	case file == "":
		return usageError("see redrive backup --help", "the name of the file is empty")
	}
	l, err := c.load(cmd)
	if err != nil {
		return err
	}
	s := backup.Source{
		DataDir: string(l.Config.DataDir), Config: l.Files, File: file, Version: c.Build.Version, Now: c.Now(),
	}
	if stream {
		s.File, s.Stream = "", c.Stdout
	}
	p := &bytesProgress{call: c, what: "copied", started: c.Now(), told: c.Now()}
	s.Progress = p.update
	summary, err := backup.Write(cmd.Context(), c.Services.Backup, s)
	p.end()
	if err != nil {
		return hinted(cmd.Context(), err)
	}
	if stream {
		c.note("%s", backupLine("wrote", summary))
		return nil
	}
	return printOne(c, summary, file, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, backupLine("wrote", summary))
		return err
	})
}

// restoreFlags are the flags of restore.
type restoreFlags struct {
	verify   bool
	configTo string
}

func restoreCommand(c *call) *cobra.Command {
	f := restoreFlags{}
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Make a data directory of a backup", Args: cobra.ExactArgs(1),
		Long: `Reads a whole backup and compares every sum, and then makes the data directory,
which must not exist or be empty. It is there completely, or not at all.

What was handled after the backup was made is handled again, with the same
idempotency keys. Do not restore while the original is still in use.

The exit code is 7 if the backup is damaged.`,
		Example: "  redrive restore redrive-2026-11-22.tar.gz --verify\n  redrive restore redrive-2026-11-22.tar.gz --data-dir /var/lib/redrive",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.restore(cmd, args[0], f)
		},
	}
	cmd.Flags().BoolVar(&f.verify, "verify", false, "only check the backup, and write nothing")
	cmd.Flags().StringVar(&f.configTo, "config-to", "", "`folder` for the configuration files of the backup")
	return cmd
}

func (c *call) restore(cmd *cobra.Command, file string, f restoreFlags) error {
	if f.verify && f.configTo != "" {
		return usageError("leave one of them out", "--verify writes nothing, so it cannot be with --config-to")
	}
	summary, err := c.restored(cmd, file, f)
	if errors.Is(err, backup.ErrDamaged) {
		err = withHint(err)
		if typed, ok := errors.AsType[*Error](err); ok {
			typed.Code = ExitFindings
		}
		return err
	}
	if err != nil {
		return hinted(cmd.Context(), err)
	}
	did := "restored"
	if f.verify {
		did = "every sum is right:"
	}
	return printOne(c, summary, cmp.Or(summary.DataDir, file), func(w io.Writer) error {
		if _, err := fmt.Fprintln(w, backupLine(did, summary)); err != nil || f.verify {
			return err
		}
		c.note("the data directory is %s; a new token is made at the first start", summary.DataDir)
		if f.configTo != "" {
			c.note("the configuration is in %s: %s", f.configTo, strings.Join(summary.Config, ", "))
		}
		return nil
	})
}

func (c *call) restored(cmd *cobra.Command, file string, f restoreFlags) (backup.Summary, error) {
	p := &bytesProgress{call: c, what: "read", started: c.Now(), told: c.Now()}
	if info, err := os.Stat(file); err == nil {
		p.total = info.Size()
	}
	defer p.end()
	if f.verify {
		return backup.Verify(cmd.Context(), file, p.update)
	}
	dataDir := c.flags.dataDir
	if !cmd.Flags().Changed("data-dir") {
		// The configuration may be in the backup still, so that without it one is not
		// asked for.
		l, err := c.load(cmd)
		if err != nil {
			return backup.Summary{}, err
		}
		dataDir = string(l.Config.DataDir)
	}
	if dataDir == "" {
		return backup.Summary{}, usageError("name a folder with --data-dir", "the name of the data directory is empty")
	}
	return backup.Restore(cmd.Context(), c.Services.Backup, backup.Target{File: file, DataDir: dataDir, ConfigTo: f.configTo, Progress: p.update})
}

// backupLine is a summary for people.
func backupLine(did string, s backup.Summary) string {
	return fmt.Sprintf("%s %s, %s, of %s, redrive %s", did,
		count(s.Files, "file"), byteSize(s.Bytes), s.Created.Format(time.RFC3339), s.RedriveVersion)
}

// byteSize is a number of bytes for people.
func byteSize(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, names := float64(n)/unit, []string{"KiB", "MiB", "GiB", "TiB"}
	for value >= unit && len(names) > 1 {
		value, names = value/unit, names[1:]
	}
	return fmt.Sprintf("%.1f %s", value, names[0])
}

// bytesProgress tells a person how far a copy is, on a terminal alone.
type bytesProgress struct {
	call          *call
	what          string
	total         int64
	started, told time.Time
	shown         bool
}

func (p *bytesProgress) update(n int64) {
	now := p.call.Now()
	if p.call.flags.quiet || now.Sub(p.told) < 100*time.Millisecond || !p.call.IsTerminal(p.call.Stderr) || p.call.getenv("TERM") == "dumb" {
		return
	}
	p.told, p.shown = now, true
	line := fmt.Sprintf("%s %s, %s/s", p.what, byteSize(n), byteSize(int64(float64(n)/max(now.Sub(p.started).Seconds(), 1e-3))))
	if p.total > 0 {
		line += fmt.Sprintf(", %.0f %%", 100*float64(n)/float64(p.total))
	}
	_, _ = fmt.Fprint(p.call.Stderr, "\r\x1b[K"+line)
}

// end takes the line away.
func (p *bytesProgress) end() {
	if p.shown {
		_, _ = fmt.Fprint(p.call.Stderr, "\r\x1b[K")
	}
}
