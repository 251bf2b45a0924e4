package controller_test

import (
	"strings"
	"testing"

	"github.com/redrive-dev/redrive/redrivetest/mutant"
	"github.com/redrive-dev/redrive/retry"
	"github.com/redrive-dev/redrive/torture/controller"
)

func TestValidateListsEveryProblem(t *testing.T) {
	err := controller.Config{
		Messages: -1, Kills: -1, ServerKills: -1, PowerCuts: -1, Sync: "never", Deploys: -1, Pause: -1, Lease: -1, Groups: 3, Budget: retry.BudgetConfig{Floor: -1}, Mutant: "none such", DrainTimeout: -1, Timeout: -1, OutageFrom: 60, OutageTo: 45,
	}.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, field := range []string{"Messages", "Kills", "ServerKills", "PowerCuts", "Sync", "Deploys", "Pause", "Lease", "Groups", "Floor", "Mutant", "DrainTimeout", "Timeout", "OutageFrom", "Server", "Worker", mutant.CountWhileOpen} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%s is not named: %v", field, err)
		}
	}
	if err := (controller.Config{Broker: "pigeon", Messages: 1}).ValidateScript(); err == nil || !strings.Contains(err.Error(), "pigeon") {
		t.Errorf("an unknown broker: %v", err)
	}
	if err := (controller.Config{Messages: 1, Server: "s", Worker: "w"}).Validate(); err != nil {
		t.Errorf("defaults refused: %v", err)
	}
}
