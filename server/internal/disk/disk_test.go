package disk_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive/server/internal/disk"
)

func TestAskingAboutADisk(t *testing.T) {
	t.Parallel()
	free, err := disk.Free(t.TempDir())
	if errors.Is(err, disk.ErrUnsupported) {
		t.Skip(err)
	}
	require.NoError(t, err)
	require.Positive(t, free)
	_, err = disk.Network(t.TempDir())
	require.NoError(t, err)
	_, err = disk.Free(filepath.Join(t.TempDir(), "missing"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}
