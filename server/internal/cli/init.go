package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/redrive-dev/redrive/server/internal/config"
)

func initCommand(c *call) *cobra.Command {
	return &cobra.Command{
		Use: "init", Short: "Write a configuration file to start from", Args: cobra.NoArgs,
		Long: `Writes a commented redrive.yaml, or the file that --config names, that is ready
to run with an embedded broker. An existing file is never changed.`,
		Example: "  redrive init\n  redrive init --config staging.yaml",
		RunE: func(*cobra.Command, []string) error {
			name := cmp.Or(c.flags.config, c.getenv(config.EnvFile), config.FileName)
			if err := writeNew(name, config.Template()); err != nil {
				return err
			}
			c.note("wrote %s; edit it, then check it with: redrive config check%s", name, configFlag(c, name))
			return printOne(c, map[string]string{"file": name}, name, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, name)
				return err
			})
		},
	}
}

// configFlag is what a command needs to read a file that is not the usual one.
func configFlag(c *call, name string) string {
	if c.flags.config == "" {
		return ""
	}
	return " --config " + name
}

// writeNew writes a file that must not exist yet. A file that could not be
// written to its end is removed again.
func writeNew(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // It holds no secret, and the operator names it.
	if errors.Is(err, fs.ErrExist) {
		return &Error{Err: fmt.Errorf("%s exists already, and was not changed", name), Hint: "move it away, or name another file with --config"}
	}
	if err != nil {
		return fmt.Errorf("write a configuration file: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write a configuration file: %w", err), os.Remove(name))
	}
	return nil
}
