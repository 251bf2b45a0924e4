package redrivenats

import "testing"

func TestOldServersAreRefused(t *testing.T) {
	for version, want := range map[string]bool{
		"2.12.0": true, "2.15.2": true, "2.12.0-RC.3": true, "3.0.0": true, "v2.14.1": true,
		"2.11.9": true, "2.10.0": true, "2.9.25": false, "2.9": false, "1.4.1": false, "": false, "dev": false,
	} {
		if err := checkVersion(version); (err == nil) != want {
			t.Errorf("server %q: %v", version, err)
		}
	}
}

func TestRedactURL(t *testing.T) {
	for url, want := range map[string]string{
		"nats://u:p@host:4222":           "nats://host:4222",
		"tls://token@a:1, nats://b:2":    "tls://a:1,nats://b:2",
		"host:4222":                      "nats://host:4222",
		"nats://user:p@ss@host/?x=u@h:1": "nats://h:1",
	} {
		if got := redactURL(url); got != want {
			t.Errorf("%q is shown as %q, want %q", url, got, want)
		}
	}
}
