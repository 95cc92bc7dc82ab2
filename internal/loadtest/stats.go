package loadtest

import (
	"cmp"
	"math"
	"slices"
)

// Percentile returns the smallest value of a sorted list that is not exceeded by at
// least the share q of the list (nearest rank), or zero if the list is empty.
func Percentile[T cmp.Ordered](sorted []T, q float64) (value T) {
	if len(sorted) == 0 {
		return value
	}
	// A share such as 0.99 is not exact in binary, but the rank must be. Without the
	// small number the 99th of 100 would be the 100th.
	rank := int(math.Ceil(q*float64(len(sorted)) - 1e-9))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// A Spread has median, minimum and maximum of some figures.
type Spread struct{ Median, Min, Max float64 }

// SpreadOf returns the spread of figures. The median of an even number of figures is
// the mean of the two in the middle.
func SpreadOf(figures []float64) Spread {
	sorted := slices.Sorted(slices.Values(figures))
	n := len(sorted)
	if n == 0 {
		return Spread{}
	}
	return Spread{Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Min: sorted[0], Max: sorted[n-1]}
}

// Ratios divides the figures of each round by those of the same round. Whatever slows
// the whole machine for a while affects both, and so no ratio.
func Ratios(figures, by []float64) []float64 {
	ratios := make([]float64, min(len(figures), len(by)))
	for i := range ratios {
		ratios[i] = figures[i] / by[i]
	}
	return ratios
}
