package app

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/redrive-dev/redrive/server/internal/config"
	"github.com/redrive-dev/redrive/server/internal/httphandler"
)

// secretLife is how long a revealed secret is used: a rotated one is taken up
// soon, and a file or command is not read for every message.
const secretLife = 10 * time.Second

// cached makes a function that reveals a secret, from memory most of the time.
// While one caller reads it anew, the others get the value that they had.
func cached(ctx context.Context, s config.Secret) httphandler.Secret {
	// The commands of secrets outlive the start, whose context this is.
	ctx = context.WithoutCancel(ctx)
	r := &revealer{reveal: func() (string, error) { return s.Reveal(ctx) }, now: time.Now, slot: make(chan struct{}, 1)}
	return r.get
}

type revealer struct {
	reveal func() (string, error)
	now    func() time.Time
	slot   chan struct{}
	last   atomic.Pointer[revealed]
}

type revealed struct {
	value string
	at    time.Time
}

func (r *revealer) get() (string, error) {
	last := r.last.Load()
	if last != nil && r.now().Sub(last.at) < secretLife {
		return last.value, nil
	}
	if last == nil {
		r.slot <- struct{}{}
	} else {
		select {
		case r.slot <- struct{}{}:
		default:
			return last.value, nil
		}
	}
	defer func() { <-r.slot }()
	if fresh := r.last.Load(); fresh != nil && fresh != last {
		return fresh.value, nil
	}
	value, err := r.reveal()
	if err != nil {
		return "", err
	}
	r.last.Store(&revealed{value: value, at: r.now()})
	return value, nil
}
