package eventsource

import (
	"math/rand/v2"
	"time"
)

// Disorder is what a test does to the records that pass the filter before the function gets them. The zero value leaves
// them alone. One seed does the same to the same records.
type Disorder struct {
	Seed uint64
	// Drop, Double and Reorder are how likely it is that a record is lost, comes twice, and comes after the one that
	// follows it; from 0 to 1.
	Drop, Double, Reorder float64
	// Delay is for how long a record is held back at most, each for a random time of its own.
	Delay time.Duration
}

// arrival is a record and when it comes.
type arrival struct {
	record
	after time.Duration
}

// apply returns what becomes of records, and how many of them it lost and how many come twice.
func (d Disorder) apply(records []record, random *rand.Rand) (out []arrival, dropped, doubled int) {
	held := func() time.Duration {
		if d.Delay <= 0 {
			return 0
		}
		return time.Duration(random.Int64N(int64(d.Delay)))
	}
	for _, r := range records {
		if random.Float64() < d.Drop {
			dropped++
			continue
		}
		out = append(out, arrival{r, held()})
		if random.Float64() < d.Double {
			doubled++
			out = append(out, arrival{r, held()})
		}
	}
	for i := 1; i < len(out); i++ {
		if random.Float64() < d.Reorder {
			out[i-1], out[i] = out[i], out[i-1]
		}
	}
	return out, dropped, doubled
}
