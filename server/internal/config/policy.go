package config

import "slices"

// Policy is what a subscription and the defaults section share.
type Policy struct {
	// Concurrency is how many handlers run at once in one process. Default: 16.
	Concurrency int `yaml:"concurrency" default:"16" min:"1" max:"10000"`
	// MaxInFlight is how many messages are taken from the broker and not settled,
	// held ones included. A message that takes the process down brings all of them
	// under suspicion, so it should be no more than throughput needs.
	MaxInFlight int `yaml:"max_in_flight" defaulttext:"4 times concurrency" min:"1" max:"100000"`
	// Lease is how long a message stays with this process without a sign of life.
	// It is extended while the handler runs, and is how long a message waits when
	// the process dies. Default: 30s.
	Lease Duration `yaml:"lease" default:"30s" min:"1s" max:"12h"`
	// Retry says how often and how late a failed message is tried again.
	Retry Retry `yaml:"retry"`
	// Breaker says when the subscription stops taking messages because what the
	// handler calls is down.
	Breaker Breaker `yaml:"breaker"`
	// Poison says when a message is quarantined.
	Poison Poison `yaml:"poison"`
	// HoldMax is the longest time that a message is held while the breaker is not
	// closed. It is cut to what the broker allows. Default: 10m.
	HoldMax Duration `yaml:"hold_max" default:"10m" min:"1s" max:"12h"`
	// HandlerTimeout is the time that a handler has for one message. Default: 30s.
	HandlerTimeout Duration `yaml:"handler_timeout" default:"30s" min:"1ms" max:"24h"`
	// HandlerGrace is how long after its timeout a handler may still return before
	// it counts as stuck. Default: 30s.
	HandlerGrace Duration `yaml:"handler_grace" default:"30s" min:"1ms" max:"24h"`
	// StopTimeout is how long running handlers may go on when the process is asked
	// to stop, before they are cancelled. Default: 30s.
	StopTimeout Duration `yaml:"stop_timeout" default:"30s" min:"1s" max:"1h"`
	// Heartbeat is the time between two records in the queue redrive.heartbeats
	// that tell how each worker is doing. Replays go only to subscriptions that
	// have a worker. Default: 10s.
	Heartbeat Duration `yaml:"heartbeat" default:"10s" min:"1s" max:"30s"`
	// LoneHold is how long a message whose attempts are used up waits for another
	// one to succeed while no other fails.
	LoneHold Duration `yaml:"lone_hold" defaulttext:"15m, or retry.max_age where that is shorter" min:"1s" max:"30d"`
	// Inbox keeps a repeated message from being handled twice.
	Inbox Inbox `yaml:"inbox"`
	// IdempotencyHeader is the header of the message that holds its idempotency
	// key. Without one the key is made of the message's first position.
	IdempotencyHeader string `yaml:"idempotency_header" example:"X-Event-Id"`
}

// Retry says how often and how late a failed message is tried again.
type Retry struct {
	// Attempts is how often a handler fails on a message before it is
	// dead-lettered, the first time included. Default: 5.
	Attempts int `yaml:"attempts" default:"5" min:"1" max:"1000000"`

	Delay `yaml:",inline"`

	// Tiers are other delays for a range of attempts or a category. The first that
	// matches is used, and the settings above where none does.
	Tiers []Tier `yaml:"tiers"`
	// RetryAfterMax is the longest delay that a handler or endpoint can ask for.
	// Default: 1h.
	RetryAfterMax Duration `yaml:"retry_after_max" default:"1h" min:"1ms" max:"30d"`
	// MaxAge is how long after its first failure a message may wait for what the
	// handler calls, before it is dead-lettered as expired. Default: 24h.
	MaxAge Duration `yaml:"max_age" default:"24h" min:"1s" max:"365d"`
	// Budget bounds the retries of one subscription in one process.
	Budget Budget `yaml:"budget"`
}

// Delay is the wait between two attempts.
type Delay struct {
	// Strategy is how the delay grows: exponential, by the same step (linear), not
	// at all (fixed), or no delay (none). Default: exponential.
	Strategy string `yaml:"strategy" default:"exponential" enum:"exponential,linear,fixed,none"`
	// Jitter spreads the delays: anywhere up to the computed one (full), in its
	// upper half (equal), from the previous one (decorrelated), from 0.5 to 1.5
	// times (random), or not (none). Default: full.
	Jitter string `yaml:"jitter" default:"full" enum:"full,equal,decorrelated,random,none"`
	// Base is the first delay, before jitter. Default: 100ms.
	Base Duration `yaml:"base" default:"100ms" min:"1ms" max:"30d"`
	// Max is the longest delay, after jitter.
	Max Duration `yaml:"max" defaulttext:"30s, or base where that is longer" min:"1ms" max:"30d"`
	// Multiplier is the growth of exponential delays. Default: 2.
	Multiplier float64 `yaml:"multiplier" default:"2" min:"1" max:"1000"`
}

// Tier is a delay for a range of attempts, a category, or both. What it does not
// set is as in the retry section that it belongs to.
type Tier struct {
	// From is the first failed attempt that the tier is for. Default: 1.
	From int `yaml:"from" default:"1" min:"1" max:"1000000"`
	// To is the last one, itself included.
	To int `yaml:"to" defaulttext:"no end" min:"1" max:"1000000"`
	// Category limits the tier to one category of failure. Those that are retried
	// are transient and crash.
	Category string `yaml:"category" defaulttext:"every category" enum:"transient,crash"`

	Delay `yaml:",inline"`
}

// Budget is a token bucket that bounds retries, so that they cannot multiply
// the load on something that is down.
type Budget struct {
	// Ratio is how many retries each first attempt pays for; -1 turns the budget
	// off. Default: 0.2.
	Ratio float64 `yaml:"ratio" default:"0.2" above:"0" max:"100" off:"-1"`
	// Floor is how many retries a second there are in any case. Default: 10.
	Floor float64 `yaml:"floor" default:"10" min:"0.001" max:"1000000"`
	// Life is how long the retries that a first attempt paid for can be used. It
	// should be longer than most messages wait for their retry. Default: 10s.
	Life Duration `yaml:"life" default:"10s" min:"1s" max:"1h"`
}

// Breaker says when a subscription stops because its downstream is down. Only
// failures that speak against the downstream count.
type Breaker struct {
	// Consecutive is how many failures in a row open it; -1 turns the rule off.
	// Default: 5.
	Consecutive int `yaml:"consecutive" default:"5" min:"1" max:"1000000" off:"-1"`
	// FailureRate is the share of failures in the window that opens it; -1 turns
	// the rule off. Default: 0.5.
	FailureRate float64 `yaml:"failure_rate" default:"0.5" above:"0" max:"1" off:"-1"`
	// Window is the time over which the share is taken. Default: 10s.
	Window Duration `yaml:"window" default:"10s" min:"100ms" max:"1h"`
	// MinVolume is how many outcomes the share needs. Default: 20.
	MinVolume int `yaml:"min_volume" default:"20" min:"1" max:"1000000"`
	// Successes is how many probes must succeed to close it. Default: 2.
	Successes int `yaml:"successes" default:"2" min:"1" max:"1000"`
	// Probes is how many probes may run at once. Default: 1.
	Probes int `yaml:"probes" default:"1" min:"1" max:"1000"`
	// Recovery is the first time it stays open. It doubles, with jitter, each time
	// a probe fails. Default: 1s.
	Recovery Duration `yaml:"recovery" default:"1s" min:"1ms" max:"24h"`
	// RecoveryMax is the longest time it stays open. The same value as recovery
	// makes the time fixed.
	RecoveryMax Duration `yaml:"recovery_max" defaulttext:"30s, or recovery where that is longer" min:"1ms" max:"24h"`
}

// Poison says when a message is quarantined: when it is the message and not
// what the handler calls.
type Poison struct {
	// CrashThreshold is how often a message that was started alone may take the
	// process down. Default: 3.
	CrashThreshold int `yaml:"crash_threshold" default:"3" min:"1" max:"1000"`
	// Suspicion is how many unexplained earlier deliveries make a suspect, which
	// is run alone. Default: 2.
	Suspicion int `yaml:"suspicion" default:"2" min:"1" max:"1000"`
	// Threshold is how many failures with one signature speak against a message.
	// Default: 3.
	Threshold int `yaml:"threshold" default:"3" min:"1" max:"1000000"`
	// Ratio is the share of other messages that must succeed meanwhile.
	// Default: 0.9.
	Ratio float64 `yaml:"ratio" default:"0.9" above:"0" max:"1"`
	// MinVolume is how many other messages the share needs. Default: 20.
	MinVolume int `yaml:"min_volume" default:"20" min:"1" max:"1000000"`
	// Window is how far back other messages count. Default: 60s.
	Window Duration `yaml:"window" default:"60s" min:"1s" max:"1h"`
}

func (p Policy) clone() Policy {
	p.Retry.Tiers = slices.Clone(p.Retry.Tiers)
	return p
}
