package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheReferenceIsUpToDate(t *testing.T) {
	t.Parallel()
	var want bytes.Buffer
	require.NoError(t, WriteReference(&want))
	have, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "reference", "commands.md"))
	require.NoError(t, err)
	require.Equal(t, want.String(), string(have), "run go generate ./server/internal/cli")
}

// Every command of the command line is in the reference, and every exit code.
func TestTheReferenceIsComplete(t *testing.T) {
	t.Parallel()
	var page strings.Builder
	require.NoError(t, WriteReference(&page))
	for _, cmd := range (&call{}).root().Commands() {
		if cmd.Hidden || cmd.Name() == "help" {
			continue
		}
		require.Contains(t, page.String(), "\n## "+cmd.CommandPath())
	}
	for _, code := range []string{"0", "1", "2", "3", "4", "5", "6", "7", "130"} {
		require.Contains(t, page.String(), "\n| "+code+" | ")
	}
	require.NotContains(t, page.String(), "demo-worker")
}
