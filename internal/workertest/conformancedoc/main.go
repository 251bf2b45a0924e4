// Command conformancedoc writes docs/conformance.md: which case of which suite, and
// which other test, is evidence for each requirement of an adapter. The page is
// made of the suites themselves, and a test compares it, so that it cannot promise
// a case that is not there.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/redrive-dev/redrive/brokertest"
	"github.com/redrive-dev/redrive/internal/workertest"
)

func main() { os.Exit(run(os.Args[1:], os.Stderr)) }

func run(args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet("conformancedoc", flag.ContinueOnError)
	flags.SetOutput(stderr)
	out := flags.String("out", "", "file to write")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err == nil && *out == "":
		err = errors.New("-out is missing")
	case err == nil:
		err = os.WriteFile(*out, page(), 0o644)
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "conformancedoc:", err)
		return 1
	}
	return 0
}

// test is a test outside of the suites.
type test struct{ folder, name, shows string }

// places are where the suites run.
func places() []test {
	return []test{
		{"redrivetest", "TestConformance", "adapter cases on the in-memory broker, in virtual time"},
		{"redrivetest", "TestConformanceOfWorkers", "worker cases on the in-memory broker"},
		{"redrivetest", "TestConformanceOfWeakerBrokers", "adapter cases with capabilities taken away one by one"},
		{"redrivenats", "TestConformance", "adapter cases on a real NATS server in a process of its own"},
		{"redrivenats", "TestConformanceOfWorkers", "worker cases on such a server"},
		{"redrivenats", "TestConformanceOnUsersStreams", "adapter cases on streams that a user made"},
		{"redrivenats", "TestConformanceOnOldServers", "adapter cases on older releases of the server"},
		{"e2e", "TestFaultyNetworks", "all cases about lost connections through toxiproxy, eight kinds of faults"},
		{"brokertest", "TestEverySabotageIsCaught", "adapter cases on brokers with one bug each: every bug fails a case, and every case fails for a bug"},
		{"internal/workertest", "TestEverySabotageIsCaught", "the same for the worker cases"},
	}
}

// elsewhere lists the tests that are evidence for a requirement beside the suites.
func elsewhere() map[string][]test {
	return map[string][]test{
		"C3": {
			{"redrivenats", "TestN02KillAfterSchedulePubAck", "a kill right after the server has confirmed the retry"},
			{"redrivenats", "TestN14RestartWithManySchedules", "thousands of waiting retries over a restart"},
		},
		"C4": {
			{"torture", "TestNoLossWorkerKill", "worker processes killed hundreds of times under load"},
			{"redrivenats", "TestServerKilledInTheMiddleOfMoves", "moves over kills of the server: each message ends where it belongs, no letter twice"},
		},
		"C6": {
			{"redrivenats", "TestFullDeadLetterQueueKeepsTheOriginal", "a full stream of letters"},
			{"redrivenats", "TestFullAccountIsNotALostMessage", "an account without space"},
		},
		"C7": {
			{"redrivenats", "TestN12LargeMessages", "messages at the server's own limits"},
		},
		"C8": {
			{".", "TestCrashLoopsAreQuarantinedAndNeighboursAreNot", "the same in virtual time, with the number of crashes"},
		},
		"C10": {
			{"redrivenats", "TestN09BrowseOneCategoryOfMany", "a look at one category among many letters leaves no consumer behind"},
		},
		"C11": {
			{"redrivenats", "TestN08DeleteTwice", "a letter that is deleted twice"},
		},
		"C13": {
			{"redrivetest", "TestModel", "random operations, restarts and kills against a map"},
			{"redrivenats", "TestStatsOfAUsersStreamCountWhatIsNotHandled", "streams that keep what was handled"},
		},
		"C15": {
			{"redrivenats", "TestDangerousSettingsAreRefusedTogether", "streams whose limits, age or storage would drop messages"},
			{"redrivenats", "TestUsersDurable", "consumers whose settings would strand messages"},
		},
		"C16": {
			{".", "TestACleanStopExplainsItsReleases", "what a stop gives back is no crash"},
		},
		"C17": {
			{"redrivenats", "TestWhileTheServerIsAway", "every call fails clearly while the server is away"},
		},
		"lost-confirmation": {
			{"redrivenats", "TestNoConfirmationIsAnUnknownOutcome", "a server that does not answer"},
			{"redrivenats", "TestLostConnectionIsAnUnknownOutcome", "a connection that ends before the answer"},
		},
		"broker-killed": {
			{"torture", "TestNoLossServerKill", "the server killed again and again under load, with workers that are killed too"},
			{"redrivenats", "TestN15LeaderKilledInTheMiddleOfMoves", "the leader of a cluster of three killed in the middle of moves"},
		},
		"connection-loss": {
			{"e2e", "TestFaultyNetworks", "silence, resets, cuts in a message, late delivery, slow closing, latency, little bandwidth and slices, in both directions"},
		},
		"hostile-headers": {
			{"redrivenats", "TestHostileHeadersOfAUsersStream", "headers that a plain client stored"},
		},
		"any-content": {
			{".", "TestAnyBodyIsDeadLetteredOnceAndUnchanged", "bodies that are no text, through a worker"},
		},
		"bounded-memory": {
			{"e2e", "TestWorkerBeforeABacklog", "a worker process before 100,000 messages of 1 and 16 KiB, a million with REDRIVE_FULL=1; the largest resident set as Linux tells it"},
		},
	}
}

// proof is a case and the suite that it is in.
type proof struct {
	suite string
	brokertest.Case
}

func proofs() []proof {
	var all []proof
	for _, c := range brokertest.Cases() {
		all = append(all, proof{"adapter", c})
	}
	for _, c := range workertest.Cases() {
		all = append(all, proof{"worker", c})
	}
	return all
}

// page is the whole document.
func page() []byte {
	var b bytes.Buffer
	adapter, worker := len(brokertest.Cases()), len(workertest.Cases())
	fmt.Fprintf(&b, `# Conformance

<!-- Made by go generate from the suites. Do not edit. -->

What every adapter has to do, and the tests that show it. There are %d adapter cases
in [`+"`brokertest`](../brokertest) and %d worker cases in [`internal/workertest`](../internal/workertest)"+`,
which run a real worker. What a broker can do, its `+"`Caps`"+`, decides what a case asserts;
none is skipped without a word.

## Where they run

| test | what runs |
|---|---|
`, adapter, worker)
	for _, t := range places() {
		fmt.Fprintf(&b, "| %s | %s |\n", t.link(), t.shows)
	}
	b.WriteString("\n## Requirements and their evidence\n")
	used := map[string]bool{}
	for _, r := range brokertest.Requirements() {
		fmt.Fprintf(&b, "\n### %s\n\n%s.\n\n| case | suite | what it shows |\n|---|---|---|\n", r.ID, sentence(r.Text))
		for _, p := range proofs() {
			if slices.Contains(p.Requirements(), r.ID) {
				used[p.Name] = true
				p.row(&b)
			}
		}
		for _, t := range elsewhere()[r.ID] {
			fmt.Fprintf(&b, "| %s | test | %s |\n", t.link(), t.shows)
		}
	}
	b.WriteString("\n## Further cases\n\nPromises of the port that belong to no requirement above.\n\n| case | suite | what it shows |\n|---|---|---|\n")
	for _, p := range proofs() {
		if !used[p.Name] {
			p.row(&b)
		}
	}
	return b.Bytes()
}

func (p proof) row(w io.Writer) {
	_, _ = fmt.Fprintf(w, "| `%s` | %s | %s |\n", p.Name, p.suite, p.Promise) // To a buffer.
}

func (t test) link() string {
	name := t.name
	if t.folder != "." {
		name = t.folder + "." + name
	}
	return fmt.Sprintf("[`%s`](../%s)", name, strings.TrimPrefix(t.folder, "."))
}

func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
