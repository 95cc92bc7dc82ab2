package loadtest

import (
	"cmp"
	"math"
	"slices"
)

// Percentile is the least value of a sorted list that at least the share q of the list
// does not exceed (nearest rank); zero where the list is empty.
func Percentile[T cmp.Ordered](sorted []T, q float64) (value T) {
	if len(sorted) == 0 {
		return value
	}
	// A share such as 0.99 is a little more or less in binary; the rank is not.
	// Without the small number the 99th of 100 would be the hundredth.
	rank := int(math.Ceil(q*float64(len(sorted)) - 1e-9))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// A Spread is the median of some figures, with the least and the greatest.
type Spread struct{ Median, Min, Max float64 }

// SpreadOf returns the spread of figures. The median of an even number of them lies in
// the middle between two.
func SpreadOf(figures []float64) Spread {
	sorted := slices.Sorted(slices.Values(figures))
	n := len(sorted)
	if n == 0 {
		return Spread{}
	}
	return Spread{Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Min: sorted[0], Max: sorted[n-1]}
}

// Ratios divides the figures of each round by those of the same round. What slows
// the whole machine for a while is in both, and so in no ratio.
func Ratios(figures, by []float64) []float64 {
	ratios := make([]float64, min(len(figures), len(by)))
	for i := range ratios {
		ratios[i] = figures[i] / by[i]
	}
	return ratios
}
