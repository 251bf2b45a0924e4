package doctor_test

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/server/internal/config"
	"github.com/redrive-dev/redrive/server/internal/doctor"
)

var errNotRunning = errors.New("not running")

// patient is an installation, and what is wrong with it.
type patient struct {
	connect            error
	storage            doctor.Storage
	storageErr         error
	clock              doctor.Clock
	clockErr           error
	inspection         doctor.Inspection
	inspectErr, holder error
	held               bool
	free               int64
	network            string
	inbox              error
	dir                string
	closed             bool
}

func (*patient) Server() string { return "2.15.2" }

func (p *patient) Inspect(context.Context, broker.Spec) (doctor.Inspection, error) {
	return p.inspection, p.inspectErr
}

func (p *patient) Storage(context.Context) (doctor.Storage, error) { return p.storage, p.storageErr }

func (p *patient) Clock(context.Context, func() time.Time) (doctor.Clock, error) {
	return p.clock, p.clockErr
}

func (p *patient) Close(context.Context) error {
	p.closed = true
	return nil
}

func healthy(t *testing.T) *patient {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.Mkdir(dir, 0o700))
	return &patient{dir: dir, held: true, free: math.MaxInt64, storage: doctor.Storage{Used: 1, Limit: 1000}}
}

// examine returns what is not ok, or everything with all.
func (p *patient) examine(t *testing.T, all bool, handler string) []string {
	t.Helper()
	c := config.Config{
		Version: 1, DataDir: config.Path(p.dir), Admin: config.Admin{Listen: "127.0.0.1:0"},
		Brokers:       map[string]config.Broker{"local": {Type: config.BrokerEmbedded}},
		Subscriptions: []config.Subscription{{Source: "orders", Policy: config.Policy{Inbox: config.Inbox{Store: "sqlite"}}, Handler: config.Handler{Sink: "discard"}}},
	}
	if handler != "" {
		c.Subscriptions[0].Handler = config.Handler{HTTP: &config.HTTP{URL: handler}}
	}
	c = c.WithDefaults()
	require.NoError(t, c.Validate())
	var found []string
	doctor.Examine(t.Context(), doctor.Platform{
		Connect: func(context.Context, config.Config, string) (doctor.Broker, error) {
			if p.connect != nil {
				return nil, p.connect
			}
			return p, nil
		},
		NotRunning: errNotRunning, TokenFile: "token",
		Holder:  func(string) (int, bool, error) { return 17, p.held, p.holder },
		Inbox:   func(context.Context, string) error { return p.inbox },
		Free:    func(string) (int64, error) { return p.free, nil },
		Network: func(string) (string, error) { return p.network, nil },
		Now:     time.Now,
	}, c, func(check doctor.Check) {
		if check.Status != doctor.OK && check.Remedy == "" {
			t.Errorf("%s says %q and not what to do", check.Name, check.What)
		}
		if all || check.Status != doctor.OK && check.Name != "open files" {
			found = append(found, string(check.Status)+" "+check.Name+": "+check.What)
		}
	})
	return found
}

func TestNothingIsWrong(t *testing.T) {
	t.Parallel()
	p := healthy(t)
	require.Empty(t, p.examine(t, false, ""))
	require.True(t, p.closed)
	all := strings.Join(p.examine(t, true, ""), "\n")
	require.Contains(t, all, "ok lock: process 17 has the data directory")
	require.Contains(t, all, "ok queues of orders: source, retry, dead letters and quarantines are there")
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(p *patient)
		want   []string
	}{
		"a second ahead and not sure": {func(p *patient) {
			p.clock = doctor.Clock{Offset: 1100 * time.Millisecond, Uncertainty: 200 * time.Millisecond}
		}, nil},
		"two seconds behind": {func(p *patient) {
			p.clock = doctor.Clock{Offset: -2 * time.Second, Uncertainty: time.Millisecond}
		}, []string{"warn broker local clock: the server is 2s behind, ± 1ms"}},
		"an hour ahead":              {func(p *patient) { p.clock = doctor.Clock{Offset: time.Hour} }, []string{"fail broker local clock: the server is 1h0m0s ahead, ± 0s"}},
		"no clock yet":               {func(p *patient) { p.clockErr = doctor.ErrUnknownClock }, nil},
		"no clock":                   {func(p *patient) { p.clockErr = errors.New("denied") }, []string{"fail broker local clock: denied"}},
		"a broker that tells little": {func(p *patient) { p.clockErr, p.storageErr = doctor.ErrNotTold, doctor.ErrNotTold }, nil},
		"no storage":                 {func(p *patient) { p.storageErr = errors.New("denied") }, []string{"fail broker local storage: denied"}},
		"nearly full":                {func(p *patient) { p.storage.Used = 800 }, []string{"warn broker local storage: 800 B of 1000 B used"}},
		"full":                       {func(p *patient) { p.storage.Used = 950 }, []string{"fail broker local storage: 950 B of 1000 B used"}},
		"its own limit": {func(p *patient) {
			p.storage = doctor.Storage{Used: 9 << 30, Limit: -1}
		}, []string{"warn broker local storage: 9.0 GiB of 10.0 GiB used"}},
		"a disk that fills first": {func(p *patient) { p.free = 3 << 30 }, []string{"warn disk: 3.0 GiB free at DIR, and the embedded broker may store 10.0 GiB"}},
		"little room":             {func(p *patient) { p.free = 1 << 30 }, []string{"warn disk: 1.0 GiB free at DIR"}},
		"no room":                 {func(p *patient) { p.free = 1 << 20 }, []string{"fail disk: 1.0 MiB free at DIR"}},
		"a network":               {func(p *patient) { p.network = "nfs" }, []string{"fail file system: DIR is on nfs, where locks and the inbox are not dependable"}},
		"a broken inbox":          {func(p *patient) { p.inbox = errors.New("malformed") }, []string{"fail inbox: malformed"}},
		"no inbox yet":            {func(p *patient) { p.inbox = fs.ErrNotExist }, nil},
		"settings": {func(p *patient) {
			p.inspection = doctor.Inspection{Problems: []error{errors.New("max_age")}, Notes: []string{"It drops."}}
		}, []string{"fail queues of orders: max_age", "warn queues of orders: It drops"}},
		"queues to come": {func(p *patient) { p.inspection.Missing = []string{"a"} }, nil},
		"no permission":  {func(p *patient) { p.inspectErr = errors.New("permissions violation") }, []string{"fail queues of orders: permissions violation"}},
		"starting":       {func(p *patient) { p.connect = errNotRunning }, []string{"warn broker local: embedded, and the process that has the data directory does not say where it listens"}},
		"not running":    {func(p *patient) { p.connect, p.held = errNotRunning, false }, nil},
		"killed":         {func(p *patient) { p.connect, p.held = errors.New("refused"), false }, nil},
		"hanging":        {func(p *patient) { p.connect = errors.New("timeout") }, []string{"fail broker local: timeout"}},
		"a lock that cannot be read": {func(p *patient) { p.connect, p.holder, p.held = errNotRunning, fs.ErrPermission, false }, []string{
			"fail lock: permission denied", "fail broker local: embedded, and whether it runs cannot be seen: not running",
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := healthy(t)
			tt.change(p)
			want := tt.want
			for i := range want {
				want[i] = strings.ReplaceAll(want[i], "DIR", p.dir)
			}
			require.Equal(t, want, p.examine(t, false, ""))
		})
	}
}

func TestPermissionsOfTheDataDirectory(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("mode bits say nothing there")
	}
	p := healthy(t)
	require.NoError(t, os.Chmod(p.dir, 0o750))
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, "token"), nil, 0o640))
	require.NoError(t, os.Chmod(filepath.Join(p.dir, "token"), 0o640))
	require.Equal(t, []string{
		"warn data directory: " + p.dir + " has mode 0750: other users can look into it",
		"warn token: " + filepath.Join(p.dir, "token") + " has mode 0640: others may know it",
	}, p.examine(t, false, ""))
	require.NoError(t, os.RemoveAll(p.dir))
	require.NoError(t, os.WriteFile(p.dir, nil, 0o600))
	require.Equal(t, []string{"fail data directory: " + p.dir + " is a file"}, p.examine(t, false, ""))
}

// An endpoint is connected to, and sent nothing.
func TestEndpointsGetAConnectionOnly(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	received := make(chan int, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			received <- -1
			return
		}
		n, _ := conn.Read(make([]byte, 1))
		_ = conn.Close()
		received <- n
	}()
	p := healthy(t)
	require.Empty(t, p.examine(t, false, "http://"+l.Addr().String()+"/orders"))
	require.Zero(t, <-received)
	require.NoError(t, l.Close())
	found := p.examine(t, false, "http://"+l.Addr().String()+"/orders")
	require.Len(t, found, 1)
	require.Contains(t, found[0], "warn endpoint "+l.Addr().String())
}
