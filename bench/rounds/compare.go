package rounds

import "slices"

// Spread is how values are distributed over the rounds.
type Spread struct {
	Min, Median, Max float64
}

// SpreadOf returns the spread of values, and false if there are none. The median
// of an even number of values is the mean of the two in the middle.
func SpreadOf(values []float64) (Spread, bool) {
	if len(values) == 0 {
		return Spread{}, false
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return Spread{Min: sorted[0], Median: median, Max: sorted[len(sorted)-1]}, true
}

// Ratios divides the values of each round. It returns nil if the rounds do not
// match or a divisor is zero.
func Ratios(of, by []float64) []float64 {
	return pair(of, by, func(a, b float64) (float64, bool) { return a / b, b != 0 })
}

// Differences subtracts the values of each round.
func Differences(of, less []float64) []float64 {
	return pair(of, less, func(a, b float64) (float64, bool) { return a - b, true })
}

func pair(a, b []float64, join func(a, b float64) (float64, bool)) []float64 {
	if len(a) != len(b) {
		return nil
	}
	out := make([]float64, len(a))
	for i := range a {
		v, ok := join(a[i], b[i])
		if !ok {
			return nil
		}
		out[i] = v
	}
	return out
}

// Target is what a figure has to be.
type Target struct {
	// Name says it in words.
	Name string `json:"name"`
	// Of is the subject that is judged, by Metric.
	Of     string `json:"of"`
	Metric Metric `json:"metric"`
	// Less names a subject whose value is subtracted first, empty for none.
	Less string `json:"less,omitempty"`
	// Per names a subject that the value is divided by, empty for none.
	Per string `json:"per,omitempty"`
	// AtLeast says that Limit is the smallest good value, else it is the largest.
	AtLeast bool    `json:"at_least,omitempty"`
	Limit   float64 `json:"limit"`
}

// Judgement is a target compared with what was measured.
type Judgement struct {
	// Values are those of the rounds, paired.
	Values []float64
	Spread Spread
	// Known says that everything that the target names was measured.
	Known bool
	// Met says that the median is good.
	Met bool
}

// Judge compares a target with what was measured.
func Judge(t Target, all []Series) Judgement {
	values := Find(all, t.Of, t.Metric)
	if t.Less != "" {
		values = Differences(values, Find(all, t.Less, t.Metric))
	}
	if t.Per != "" {
		values = Ratios(values, Find(all, t.Per, t.Metric))
	}
	spread, ok := SpreadOf(values)
	if !ok {
		return Judgement{}
	}
	met := spread.Median <= t.Limit
	if t.AtLeast {
		met = spread.Median >= t.Limit
	}
	return Judgement{Values: values, Spread: spread, Known: true, Met: met}
}
