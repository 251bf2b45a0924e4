package embednats

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSyncIsWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	for sync, want := range map[string]bool{"": true, SyncAlways: true, SyncDefault: false} {
		s := &Server{config: Config{DataDir: t.TempDir(), Sync: sync}.WithDefaults()}
		require.Equal(t, want, s.options().SyncAlways, "Sync %q", sync)
	}
}

func TestNothingElseListens(t *testing.T) {
	t.Parallel()
	o := (&Server{config: Config{DataDir: t.TempDir()}.WithDefaults(), token: "t"}).options()
	require.Equal(t, "127.0.0.1", o.Host)
	require.Equal(t, "t", o.Authorization)
	require.Zero(t, o.HTTPPort)
	require.Zero(t, o.HTTPSPort)
	require.Zero(t, o.ProfPort)
	require.Zero(t, o.Cluster.Port)
	require.Zero(t, o.Gateway.Port)
	require.Zero(t, o.LeafNode.Port)
	require.Zero(t, o.Websocket.Port)
	require.Zero(t, o.MQTT.Port)
}
