package redrivekafka_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redrive-dev/redrive/redrivekafka"
)

func ExampleConfig_Validate() {
	config := redrivekafka.Config{Partitions: -1, Replicas: 2, MinInSyncReplicas: 3}.WithDefaults()
	fmt.Println(config.Validate())
	// Output:
	// redrivekafka: Partitions: -1 must be at least 1
	// redrivekafka: MinInSyncReplicas: 3 must be 0 to Replicas
}

func TestValidateNamesEveryField(t *testing.T) {
	config := redrivekafka.Config{
		Brokers: []string{""}, ConnectTimeout: -1, Partitions: -1, Replicas: -2, MinInSyncReplicas: -1, SessionTimeout: 1,
		HeartbeatInterval: time.Hour, RebalanceTimeout: 1, PublishTimeout: -1, RetryWindow: 1 << 20, RetryMemory: 1,
	}
	err := config.WithDefaults().Validate()
	for _, field := range []string{"Brokers:", "ConnectTimeout:", "Partitions:", "Replicas:", "MinInSyncReplicas:", "SessionTimeout:", "HeartbeatInterval:", "RebalanceTimeout:", "PublishTimeout:", "RetryWindow:", "RetryMemory:"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%v does not name %s", err, field)
		}
	}
	if err := (redrivekafka.Config{}).WithDefaults().Validate(); err != nil {
		t.Errorf("the defaults are not valid: %v", err)
	}
}

func TestConnectToNobodySaysWhere(t *testing.T) {
	_, err := redrivekafka.Connect(t.Context(), redrivekafka.Config{Brokers: []string{"127.0.0.1:1"}, ConnectTimeout: 200 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("connect: %v, want an error that names the address", err)
	}
}
