package progress

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// clocked keeps what is written with the time of each line.
type clocked struct {
	mu    sync.Mutex
	begun time.Time
	at    []time.Duration
	lines []string
}

func (c *clocked) Write(text []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = append(c.at, time.Since(c.begun))
	c.lines = append(c.lines, strings.TrimSuffix(string(text), "\n"))
	return len(text), nil
}

func TestASlowStepIsNeverSilentForTwoSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		out := &clocked{begun: time.Now()}
		p := New(out)
		done := p.Step("building the functions")
		time.Sleep(30 * time.Second)
		done()
		last := time.Duration(0)
		for i, at := range append(out.at, 30*time.Second) {
			if at-last > Silence {
				t.Errorf("silence of %s before line %d", at-last, i)
			}
			last = at
		}
		if said := out.lines[2]; said != "  3.0 s  still building the functions" {
			t.Errorf("it says %q", said)
		}
		lines := len(out.lines)
		time.Sleep(time.Minute)
		if len(out.lines) != lines {
			t.Errorf("it goes on after the step's end: %q", out.lines[lines:])
		}
	})
}

func TestProgressIsPrintedWhenThereWasSilenceAndAtTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		out := &clocked{begun: time.Now()}
		p := New(out)
		done := p.Step("counting")
		for i := range 20 { // 3.8 s
			p.Show("%d done", i)
			time.Sleep(190 * time.Millisecond)
		}
		time.Sleep(2700 * time.Millisecond) // nobody says how far it is
		p.Show("20 done")
		done()
		p.Line("the end")
		want := []string{
			"counting", "  1.5 s  7 done", "  3.0 s  15 done", "  4.5 s  19 done", "  6.0 s  19 done (2 s ago)", "  6.5 s  20 done", "the end",
		}
		if diff := cmp.Diff(want, out.lines); diff != "" {
			t.Error(diff)
		}
	})
}

func TestOnATerminalOneLineIsWrittenAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		out := &clocked{begun: time.Now()}
		p := New(out)
		p.terminal = true
		done := p.Step("counting")
		p.Show("100 done")
		p.Show("9 done")
		time.Sleep(Silence)
		p.Line("a line between")
		done()
		want := "counting\r  0.0 s  100 done\r  0.0 s  9 done  \r  1.5 s  9 done\r               \ra line between" + "  2.0 s  9 done"
		if diff := cmp.Diff(want, strings.Join(out.lines, "")); diff != "" {
			t.Error(diff)
		}
	})
}

func TestTheInnermostStepIsToldOf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		out := &clocked{begun: time.Now()}
		p := New(out)
		outer := p.Step("starting the stack")
		inner := p.Step("downloading DynamoDB Local")
		time.Sleep(Silence)
		inner()
		p.Doing("waiting for the functions")
		_, _ = p.Write([]byte("half a "))
		_, _ = p.Write([]byte("line\nand"))
		time.Sleep(Silence)
		outer()
		want := []string{
			"starting the stack", "downloading DynamoDB Local", "  1.5 s  still downloading DynamoDB Local",
			"half a line", "  3.5 s  still waiting for the functions",
		}
		if diff := cmp.Diff(want, out.lines); diff != "" {
			t.Error(diff)
		}
	})
}
