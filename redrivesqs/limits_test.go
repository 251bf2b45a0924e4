package redrivesqs

import (
	"testing"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// TestVisibilityArithmetic is S2 and S3: 12 hours since the receive are the end,
// whatever is asked for.
func TestVisibilityArithmetic(t *testing.T) {
	t.Parallel()
	received := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		held, wish time.Duration
		seconds    int32
		whole      bool
	}{
		{0, 0, 0, true},
		{0, time.Millisecond, 1, true},
		{0, 1500 * time.Millisecond, 2, true},
		{0, 12 * time.Hour, 43_200, true},
		{0, 43_201 * time.Second, 43_200, false},
		{11 * time.Hour, 2 * time.Hour, 3600, false},
		{11 * time.Hour, time.Hour, 3600, true},
		{12*time.Hour - 1500*time.Millisecond, time.Minute, 1, false},
		{12 * time.Hour, time.Second, 0, false},
		{13 * time.Hour, time.Second, 0, false},
	} {
		seconds, whole := visibility(c.wish, received, received.Add(c.held))
		if seconds != c.seconds || whole != c.whole {
			t.Errorf("%v asked after %v: %d s, %v; want %d s, %v", c.wish, c.held, seconds, whole, c.seconds, c.whole)
		}
	}
}

func TestDelaysAreWithinLimits(t *testing.T) {
	t.Parallel()
	for wait, want := range map[time.Duration]int32{
		-time.Hour: 0, 0: 0, 999 * time.Millisecond: 0, 1999 * time.Millisecond: 1, 900 * time.Second: 900, 901 * time.Second: 900, 1000 * time.Hour: 900,
	} {
		if got := delaySeconds(wait); got != want {
			t.Errorf("a wait of %v is a delay of %d s, want %d", wait, got, want)
		}
	}
}

// TestSettingsThatLoseLettersAreFound is S12 and C15: each rule with a queue that
// breaks it and one that does not.
func TestSettingsThatLoseLettersAreFound(t *testing.T) {
	t.Parallel()
	good := map[string]string{"MessageRetentionPeriod": "1209600", "MaximumMessageSize": "1048576", "QueueArn": "arn:aws:sqs:eu-central-1:1:q"}
	with := func(name, value string) map[string]string {
		m := map[string]string{name: value}
		for k, v := range good {
			if k != name {
				m[k] = v
			}
		}
		return m
	}
	source, err := parseSettings(queue{name: "orders"}, good)
	if err != nil {
		t.Fatal(err)
	}
	for rule, attributes := range map[string]map[string]string{
		"":                  good,
		RuleLetterRetention: with("MessageRetentionPeriod", "345600"),
		RuleLetterSize:      with("MaximumMessageSize", "262144"),
		RuleLetterRedrive:   with("RedrivePolicy", `{"deadLetterTargetArn":"arn:x","maxReceiveCount":"3"}`),
	} {
		set, err := parseSettings(queue{name: "orders_2edlq"}, attributes)
		if err != nil {
			t.Fatal(err)
		}
		problems := checkLetters(set, source)
		switch {
		case rule == "" && len(problems) > 0:
			t.Errorf("a good queue: %v", problems)
		case rule != "" && (len(problems) != 1 || problems[0].Rule != rule):
			t.Errorf("found %v, want %s", problems, rule)
		}
		if rule != "" && broker.Refuse(problems, []string{rule}) != nil {
			t.Errorf("%s is refused although it is accepted", rule)
		}
	}
}

// TestSettingsOfASourceAreTold is S12 and S13.
func TestSettingsOfASourceAreTold(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		attributes map[string]string
		warnings   int
	}{
		"good":            {map[string]string{"MessageRetentionPeriod": "345600", "RedrivePolicy": `{"deadLetterTargetArn":"arn:x","maxReceiveCount":100}`}, 0},
		"unknown":         {nil, 0},
		"maxReceiveCount": {map[string]string{"RedrivePolicy": `{"deadLetterTargetArn":"arn:x","maxReceiveCount":99}`}, 1},
		"retention":       {map[string]string{"MessageRetentionPeriod": "3600"}, 1},
		"delay":           {map[string]string{"DelaySeconds": "10"}, 1},
	} {
		set, err := parseSettings(queue{name: "orders"}, c.attributes)
		if err != nil {
			t.Fatal(err)
		}
		if got := checkSource(set); len(got) != c.warnings {
			t.Errorf("%s: warnings %q, want %d", name, got, c.warnings)
		}
	}
	if _, err := parseSettings(queue{}, map[string]string{"DelaySeconds": "soon", "RedrivePolicy": "{"}); err == nil {
		t.Error("attributes that cannot be read are no error")
	}
}

func TestClusterIsRegionAndAccount(t *testing.T) {
	t.Parallel()
	if got := cluster("arn:aws:sqs:eu-central-1:123456789012:orders"); got != "eu-central-1:123456789012" {
		t.Errorf("cluster is %q", got)
	}
	if got := cluster(""); got != "sqs" {
		t.Errorf("cluster without an ARN is %q", got)
	}
}
