package cli

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// Build describes a binary.
type Build struct {
	// Version is the module version, "devel" for a build from a checkout without a
	// tag.
	Version string `json:"version"`
	// Commit and CommitTime are those of the checkout, empty if unknown.
	Commit     string `json:"commit,omitempty"`
	CommitTime string `json:"commit_time,omitempty"`
	// Modified says that the checkout had changes that are not in the commit.
	Modified bool `json:"modified"`
	// Go is the version of the toolchain.
	Go string `json:"go"`
	// Platform is the operating system and architecture.
	Platform string `json:"platform"`
}

// readBuild reads what the toolchain wrote into the running binary.
func readBuild() Build {
	b := Build{Version: "devel", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.CommitTime = utc(s.Value)
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// utc rewrites an RFC 3339 time in UTC.
func utc(text string) string {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// people is the version in one line.
func (b Build) people() string {
	var details []string
	if b.Commit != "" {
		commit := b.Commit[:min(len(b.Commit), 12)]
		if b.Modified {
			commit += ", modified"
		}
		details = append(details, "commit "+commit)
	}
	if b.CommitTime != "" {
		details = append(details, b.CommitTime)
	}
	details = append(details, b.Go, b.Platform)
	return fmt.Sprintf("redrive %s (%s)", b.Version, strings.Join(details, ", "))
}

func versionCommand(c *call) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return printOne(c, c.Build, c.Build.Version, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, c.Build.people())
				return err
			})
		},
	}
}
