package dynamostore

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/aws/smithy-go/logging"
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

func TestWhatTheSDKRemarksIsForDebugging(t *testing.T) {
	before := slog.Default()
	defer slog.SetDefault(before)
	for level, want := range map[slog.Level]string{
		slog.LevelInfo:  "",
		slog.LevelDebug: `level=DEBUG msg="failed to close: why" component=aws-sdk` + "\n",
	} {
		var out strings.Builder
		slog.SetDefault(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{
			Level: level,
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		})))
		LocalClient("http://127.0.0.1:1").Options().Logger.Logf(logging.Warn, "failed to close: %s", "why")
		if out.String() != want {
			t.Errorf("at level %s: %q, want %q", level, out.String(), want)
		}
	}
}
