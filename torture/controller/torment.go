package controller

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// publishedBy is the share of the blows, in percent, at which all messages are
// published.
const publishedBy = 90

// awaitQueue waits until a worker has made the queue. While it is being made any
// answer of the broker is possible.
func (r *run) awaitQueue(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		_, err := r.left(ctx)
		if err == nil {
			return nil
		}
		if err := r.crew.hire(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no worker made the queues: %w; their last words: %s", err, r.crew.lastWords())
		case <-again.C:
		}
	}
}

// blow is something that is done to the processes.
type blow int

const (
	killWorker blow = iota
	killServer
	cutPower
	deploy
)

// blows is how many there are to be.
func (c Config) blows() int { return c.Kills + c.ServerKills + c.PowerCuts + c.Deploys }

// torment publishes and strikes until both are done.
func (r *run) torment(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	struck := make(chan int, r.config.blows()+1)
	published := make(chan error, 1)
	go func() { published <- r.publishAlong(ctx, struck) }()
	err := r.strikeAll(ctx, struck)
	close(struck)
	if err != nil {
		cancel()
	}
	return errors.Join(err, <-published, r.setOutage(false))
}

// publishAlong publishes in step with the blows, so that there is always work.
func (r *run) publishAlong(ctx context.Context, struck <-chan int) error {
	for n := range struck {
		due := r.config.Messages
		if most := r.config.blows() * publishedBy / 100; n < most {
			due = r.config.Messages * (n + 1) / (most + 1)
		}
		if err := r.producer.publish(ctx, due-r.producer.sent); err != nil {
			return err
		}
	}
	return r.producer.publish(ctx, r.config.Messages-r.producer.sent)
}

// strikeAll strikes at random moments and replaces each victim at once.
func (r *run) strikeAll(ctx context.Context, struck chan<- int) error {
	struck <- 0
	if err := r.milestone(0); err != nil {
		return err
	}
	left := map[blow]int{killWorker: r.config.Kills, killServer: r.config.ServerKills, cutPower: r.config.PowerCuts, deploy: r.config.Deploys}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 0; n < r.config.blows(); {
		gone, why := r.site.ended()
		shortest := r.config.Pause / 4
		timer.Reset(shortest + time.Duration(r.random.Int64N(int64(r.config.Pause-shortest))))
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-gone:
			return fmt.Errorf("the broker ended: %w", why())
		case <-timer.C:
		}
		b := r.draw(left)
		hit, err := r.strike(ctx, b)
		if err != nil {
			return err
		}
		if hit {
			left[b]--
			n++
			struck <- n
			if err := r.milestone(n); err != nil {
				return err
			}
		}
		if err := r.crew.hire(); err != nil {
			return err
		}
	}
	return nil
}

// draw takes one of the blows that are left, each with the same probability.
func (r *run) draw(left map[blow]int) blow {
	all := 0
	for _, n := range left {
		all += n
	}
	n := r.random.IntN(all)
	for _, b := range []blow{killWorker, killServer, cutPower} {
		if n < left[b] {
			return b
		}
		n -= left[b]
	}
	return deploy
}

// strike tells whether there was something to strike.
func (r *run) strike(ctx context.Context, b blow) (hit bool, err error) {
	switch b {
	case killWorker:
		if hit = r.crew.killOne(r.random); hit {
			r.report.Kills++
		}
	case killServer:
		hit = true
		r.report.ServerKills++
		err = errors.Join(r.site.kill(ctx), r.site.start(ctx))
	case cutPower:
		hit = true
		r.report.PowerCuts++
		err = r.cutPower(ctx)
	case deploy:
		if hit, err = r.crew.deployOne(ctx, r.random); hit {
			r.report.Deploys++
		}
	}
	return hit, err
}

// milestone does what is due after a number of blows.
func (r *run) milestone(n int) error {
	of := r.config.blows()
	if n > 0 && n%max(1, of/10) == 0 {
		r.say("%d of %d blows\n", n, of)
	}
	switch {
	case of == 0:
	case n == of*r.config.OutageFrom/100:
		return r.setOutage(true)
	case n == of*r.config.OutageTo/100:
		return r.setOutage(false)
	}
	return nil
}

func (r *run) setOutage(on bool) error {
	var err error
	if on {
		err = os.WriteFile(r.outage(), nil, 0o600)
	} else if err = os.Remove(r.outage()); errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("outage: %w", err)
	}
	return nil
}

// cutPower cuts the power of the broker's machine.
func (r *run) cutPower(ctx context.Context) error {
	p, ok := r.site.(powered)
	if !ok {
		return fmt.Errorf("the power of %s cannot be cut", r.config.Broker)
	}
	lost, err := p.cutPower(ctx)
	r.report.CutFiles += lost.Files
	r.report.CutBytes += lost.Bytes
	return err
}
