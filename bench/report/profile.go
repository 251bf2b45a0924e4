package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/pprof/profile"
)

// topFunctions is how many functions a profile shows.
const topFunctions = 10

// ReadProfile condenses a profile of processor time.
func ReadProfile(subject string, from io.Reader) (Profile, error) {
	p, err := profile.Parse(from)
	if err != nil {
		return Profile{}, fmt.Errorf("read the profile: %w", err)
	}
	flat, cumulative, total := shares(p)
	out := Profile{Subject: subject, Seconds: float64(total) / 1e9}
	var all []Spent
	for name, n := range cumulative {
		all = append(all, Spent{
			Function: name, Flat: float64(flat[name]) / float64(max(total, 1)), Cumulative: float64(n) / float64(max(total, 1)),
		})
	}
	out.Own = top(all, func(s Spent) float64 { return s.Flat })
	out.Ours = top(slices.DeleteFunc(slices.Clone(all), func(s Spent) bool { return !ours(s.Function) }), func(s Spent) float64 { return s.Cumulative })
	return out, nil
}

// shares adds up the samples by function: those that were in its own code, those
// that were in it or in what it calls, and all.
func shares(p *profile.Profile) (flat, cumulative map[string]int64, total int64) {
	flat, cumulative = map[string]int64{}, map[string]int64{}
	for _, s := range p.Sample {
		value := s.Value[len(s.Value)-1] // nanoseconds; before them stands their count
		total += value
		seen := map[string]bool{}
		for i, location := range s.Location {
			for j, line := range location.Line {
				if line.Function == nil {
					continue
				}
				name := strings.ReplaceAll(line.Function.Name, "%2e", ".") // how the linker writes a dot in a path
				if i == 0 && j == 0 {
					flat[name] += value
				}
				if !seen[name] {
					seen[name] = true
					cumulative[name] += value
				}
			}
		}
	}
	return flat, cumulative, total
}

// top are the functions with the largest shares, those with none left out.
func top(all []Spent, by func(Spent) float64) []Spent {
	all = slices.DeleteFunc(slices.Clone(all), func(s Spent) bool { return by(s) == 0 })
	sorted := slices.SortedFunc(slices.Values(all), func(a, b Spent) int {
		return cmp.Or(cmp.Compare(by(b), by(a)), cmp.Compare(a.Function, b.Function))
	})
	return sorted[:min(topFunctions, len(sorted))]
}

// module is the path of the library.
const module = "github.com/redrive-dev/redrive"

// ours are the functions of redrive, not those of this program.
func ours(function string) bool {
	return strings.HasPrefix(function, module) && !strings.HasPrefix(function, module+"/bench") && !strings.HasPrefix(function, "main.")
}
