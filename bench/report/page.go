package report

import (
	"time"

	"github.com/redrive-dev/redrive/bench/rounds"
)

// Page is everything that the page shows.
type Page struct {
	// Taken is when the run began, and Took how long it took.
	Taken time.Time     `json:"taken"`
	Took  time.Duration `json:"took"`
	// Command is how to repeat it, in the folder bench.
	Command string `json:"command"`
	// Quick says that the run was only made to see that it works.
	Quick bool `json:"quick,omitempty"`
	// Commit is the state of the repository, empty if it is not known.
	Commit      string    `json:"commit,omitempty"`
	Machine     Machine   `json:"machine"`
	Versions    []Version `json:"versions"`
	Experiments []Result  `json:"experiments"`
}

// Machine is where the figures were taken.
type Machine struct {
	CPU       string  `json:"cpu"`
	Cores     int     `json:"cores"`
	MemoryGiB float64 `json:"memory_gib"`
	Kernel    string  `json:"kernel"`
	System    string  `json:"system"`
	Go        string  `json:"go"`
	// Disk is the file system that the servers store on.
	Disk string `json:"disk"`
	// Load is the load average of the minute before the run.
	Load string `json:"load"`
}

// Version is one module that was measured or measured with.
type Version struct {
	Module  string `json:"module"`
	Version string `json:"version"`
}

// Result is an experiment with its figures.
type Result struct {
	ID      string          `json:"id"`
	Group   string          `json:"group"`
	Title   string          `json:"title"`
	Method  string          `json:"method"`
	Rounds  int             `json:"rounds"`
	Against string          `json:"against,omitempty"`
	Metric  rounds.Metric   `json:"metric,omitempty"`
	Targets []rounds.Target `json:"targets,omitempty"`
	rounds.Outcome
	// Failed says why not all of it could be measured, empty if it could.
	Failed string `json:"failed,omitempty"`
	// Profiles are those of the subjects that missed a target.
	Profiles []Profile `json:"profiles,omitempty"`
}

// Profile says where a subject spends processor time.
type Profile struct {
	Subject string `json:"subject"`
	// Seconds of processor time were sampled.
	Seconds float64 `json:"seconds"`
	// Own are the functions with the most time of their own, and Ours those of
	// redrive with the most time in all that they call.
	Own  []Spent `json:"own"`
	Ours []Spent `json:"ours"`
}

// Spent is the share of the samples that a function was in.
type Spent struct {
	Function string `json:"function"`
	// Flat is the share of its own code, Cumulative with what it calls; of 1.
	Flat       float64 `json:"flat"`
	Cumulative float64 `json:"cumulative"`
}
