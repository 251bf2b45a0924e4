//go:build unix

package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive/server/internal/embednats"
)

// contents are the files of a folder with their sums, modes and times.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	require.NoError(t, filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		fmt.Fprintf(&out, "%s %v %v %x\n", name, info.Mode(), info.ModTime(), sha256.Sum256(b))
		return err
	}))
	return out.String()
}

// Doctor looks while redrive up runs, after it was killed and after it was
// stopped, and changes no file and asks nothing of an endpoint.
func TestDoctorChangesNothing(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	dir := folder(t, fmt.Sprintf(backupConfig, endpoint(t, func(http.ResponseWriter, *http.Request) { requests.Add(1) })))
	data := filepath.Join(dir, "redrive-data")
	up := start(t, dir, "up")
	up.await(t, "ready")
	before := contents(t, data)
	said := command(t, dir, "doctor")
	require.Contains(t, said, fmt.Sprintf("process %d has the data directory", up.cmd.Process.Pid))
	require.Contains(t, said, "source, retry, dead letters and quarantines are there")
	require.Contains(t, said, "broker local clock")
	require.NotContains(t, said, "FAIL")
	require.Equal(t, before, contents(t, data))

	up.stop(t, syscall.SIGKILL)
	before = contents(t, data)
	said = command(t, dir, "doctor")
	require.Contains(t, said, "nobody has the data directory")
	require.Contains(t, said, "embedded, not running")
	require.Contains(t, said, "ok    inbox                 can be read")
	require.Equal(t, before, contents(t, data))

	up = start(t, dir, "up")
	up.await(t, "ready")
	code, _ := up.stop(t, syscall.SIGTERM)
	require.Equal(t, 0, code)
	before = contents(t, data)
	require.NotContains(t, command(t, dir, "doctor"), "FAIL")
	require.Equal(t, before, contents(t, data))
	require.Zero(t, requests.Load())
}

// A setting on the server for which redrive does not start is named, with what
// to do, and the server has no stream more than before.
func TestDoctorFindsWhatLosesMessages(t *testing.T) {
	t.Parallel()
	server, err := embednats.Start(t.Context(), embednats.Config{DataDir: t.TempDir(), Sync: embednats.SyncDefault, MaxStore: 64 << 20})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Shutdown(context.WithoutCancel(t.Context()))) })
	nc, err := server.Connect()
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "redrive_dlq", Subjects: []string{"redrive.dlq.>"}, MaxAge: time.Hour})
	require.NoError(t, err)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"events.>"}, MaxAge: time.Hour})
	require.NoError(t, err)
	dir := folder(t, fmt.Sprintf(`version: 1
admin: {listen: "127.0.0.1:0"}
brokers: {prod: {type: nats, url: %q, token: {value: %q}}}
subscriptions:
  - {source: events.orders, handler: {sink: discard}}
`, server.URL(), server.Token()))
	said := refused(t, dir, 7, "doctor")
	require.Contains(t, said, "FAIL  queues of events.orders  redrive_dlq: max_age drops letters: remove it → change it there")
	require.Contains(t, said, "warn  queues of events.orders  Stream EVENTS drops messages after 1h0m0s, handled or not → see whether that is meant")
	require.Contains(t, said, "error: 1 check failed")
	require.Contains(t, refused(t, dir, 1, "run"), "max_age drops letters")
	info, err := js.AccountInfo(t.Context())
	require.NoError(t, err)
	before := info.Streams
	refused(t, dir, 7, "doctor")
	info, err = js.AccountInfo(t.Context())
	require.NoError(t, err)
	require.Equal(t, before, info.Streams)
}
