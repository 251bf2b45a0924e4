package servertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Many test processes run at once, and each of these servers wants a processor and
// some hundred megabytes. The bound is a courtesy and no promise: whoever has waited
// for slotPatience goes on, so that two that wait for each other do not wait for
// ever.
const (
	slots        = 8
	slotPatience = time.Minute
)

// takeSlot waits for its turn and returns what gives it back.
func takeSlot(ctx context.Context) (release func()) {
	ctx, cancel := context.WithTimeout(ctx, slotPatience)
	defer cancel()
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("redrive-server-slots-%d", os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return func() {}
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		for n := range slots {
			file, err := lockFile(filepath.Join(dir, strconv.Itoa(n)))
			switch {
			case err == nil:
				return func() { _ = file.Close() }
			case !errors.Is(err, errLocked):
				return func() {}
			}
		}
		select {
		case <-ctx.Done():
			return func() {}
		case <-tick.C:
		}
	}
}

// errLocked says that another process, or another server of this one, has the slot.
var errLocked = errors.New("locked")
