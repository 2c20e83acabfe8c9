package dynamostore

import (
	"testing"
	"time"
)

func TestPausesBetweenTriesBeginShortAndEndInTime(t *testing.T) {
	for range 100 {
		var sum time.Duration
		for try := 1; try < requestTries; try++ {
			pause, err := pauseAfter(try, nil)
			if err != nil || pause <= 0 || pause > longestPause || try == 1 && pause > firstPause {
				t.Fatalf("after try %d: %s, %v", try, pause, err)
			}
			sum += pause
		}
		if sum < 8*time.Second || sum > 20*time.Second {
			t.Fatalf("all pauses come to %s", sum)
		}
	}
}
