package config

import (
	"fmt"
	"time"

	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/decision"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/poison"
	"github.com/redrive-dev/redrive/retry"
)

// Decision returns the policy in the form in which it decides. The receiver must
// have its defaults.
func (p Policy) Decision() (decision.Policy, error) {
	r, err := p.Retry.policy()
	if err != nil {
		return decision.Policy{}, err
	}
	out := decision.Policy{
		Retry:          r,
		Budget:         retry.BudgetConfig{Ratio: p.Retry.Budget.Ratio, Floor: p.Retry.Budget.Floor, Life: time.Duration(p.Retry.Budget.Life)},
		Breaker:        p.breaker(),
		Poison:         p.Poison.config(),
		HoldMax:        time.Duration(p.HoldMax),
		HandlerTimeout: time.Duration(p.HandlerTimeout),
		HandlerGrace:   time.Duration(p.HandlerGrace),
		LoneHold:       time.Duration(p.LoneHold),
	}
	return out, out.Validate()
}

func (p Policy) breaker() breaker.Config {
	b := p.Breaker
	return breaker.Config{
		Consecutive: b.Consecutive,
		FailureRate: b.FailureRate,
		Window:      time.Duration(b.Window),
		MinVolume:   b.MinVolume,
		Successes:   b.Successes,
		Probes:      b.Probes,
		// A probe is a run of the handler, so its result can take as long as one.
		ProbeTimeout: max(breaker.DefaultProbeTimeout, time.Duration(p.HandlerTimeout)+time.Duration(p.HandlerGrace)+time.Second),
		Recovery:     time.Duration(b.Recovery),
		RecoveryMax:  time.Duration(b.RecoveryMax),
	}
}

func (p Poison) config() poison.Config {
	return poison.Config{
		CrashThreshold: p.CrashThreshold, Suspicion: p.Suspicion, Threshold: p.Threshold,
		Ratio: p.Ratio, MinVolume: p.MinVolume, Window: time.Duration(p.Window),
	}
}

func (r Retry) policy() (retry.Policy, error) {
	strategy, err := r.Delay.strategy()
	if err != nil {
		return retry.Policy{}, fmt.Errorf("retry: %w", err)
	}
	out := retry.Policy{
		Attempts: r.Attempts, Strategy: strategy,
		RetryAfterMax: time.Duration(r.RetryAfterMax), MaxAge: time.Duration(r.MaxAge),
	}
	for i, t := range r.Tiers {
		tier := retry.Tier{From: t.From, To: t.To}
		if tier.Category, err = failure.ParseCategory(t.Category); err != nil {
			return retry.Policy{}, fmt.Errorf("retry.tiers[%d].category: %w", i, err)
		}
		if tier.Strategy, err = t.Delay.strategy(); err != nil {
			return retry.Policy{}, fmt.Errorf("retry.tiers[%d]: %w", i, err)
		}
		out.Tiers = append(out.Tiers, tier)
	}
	return out, nil
}

func (d Delay) strategy() (retry.Strategy, error) {
	s := retry.Strategy{Base: time.Duration(d.Base), Max: time.Duration(d.Max), Multiplier: d.Multiplier}
	if err := s.Backoff.UnmarshalText([]byte(d.Strategy)); err != nil {
		return s, fmt.Errorf("strategy: %w", err)
	}
	if err := s.Jitter.UnmarshalText([]byte(d.Jitter)); err != nil {
		return s, fmt.Errorf("jitter: %w", err)
	}
	return s, nil
}
