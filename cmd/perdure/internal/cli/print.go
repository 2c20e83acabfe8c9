package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/perdure-dev/perdure/core"
)

// colour is an ANSI colour; empty for none.
type colour string

const (
	plain  colour = ""
	red    colour = "31"
	green  colour = "32"
	yellow colour = "33"
	blue   colour = "34"
	dim    colour = "2"
)

// terminal reports whether w is one.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) //nolint:gosec // a file descriptor fits
}

// colours reports whether w gets colours. See https://no-color.org for NO_COLOR.
func (a *app) colours(w io.Writer) bool {
	switch a.color {
	case "always":
		return true
	case "never":
		return false
	}
	return terminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// cell is a piece of text in a table.
type cell struct {
	text   string
	colour colour
}

func text(s string) cell { return cell{text: s} }

func (c cell) String() string { return c.text }

// paint returns the text in its colour.
func (c cell) paint(colours bool) string {
	if !colours || c.colour == plain || c.text == "" {
		return c.text
	}
	return "\x1b[" + string(c.colour) + "m" + c.text + "\x1b[0m"
}

// visible returns text with its control characters as they are written in Go, such as \x1b, for a terminal would obey them.
func visible(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, control) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if control(r) {
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// control reports whether a terminal does more with r than show it; a tab is harmless.
func control(r rune) bool { return r != '\t' && unicode.IsControl(r) }

// statusText is a status as people read it. What sleeps until somebody wakes it runs nowhere, though its record says so.
func statusText(s core.Status, sleepKey string) string {
	if s == core.StatusRunning && sleepKey != "" {
		return "sleeping"
	}
	return string(s)
}

// taskText names a task, and the key under which an execution of it sleeps or slept.
func taskText(e *core.Execution) string {
	if e.SleepKey == "" {
		return e.TaskID
	}
	return e.TaskID + " " + strconv.Quote(e.SleepKey)
}

// statusCell is a status in its colour.
func statusCell(s core.Status, sleepKey string) cell {
	c := cell{text: statusText(s, sleepKey)}
	switch s {
	case core.StatusCompleted:
		c.colour = green
	case core.StatusFailed, core.StatusTimedOut, core.StatusFinalizeFailed:
		c.colour = red
	case core.StatusCancelled:
		c.colour = yellow
	case core.StatusReady, core.StatusRunning, core.StatusWaitingForChildren, core.StatusWaitingForFinalize:
		c.colour = blue
	}
	return c
}

// giving is a column that gives way, down to its least width, where a table is wider than the terminal.
type giving struct{ column, least int }

// printTable prints rows in columns as wide as what is in them; the last has no end. A nil header is left out. On a
// terminal no line is longer than the terminal is wide where columns give way, in their order; others are printed whole.
func (a *app) printTable(header []string, rows [][]cell, give ...giving) error {
	colours := a.colours(a.Out)
	if header != nil {
		head := make([]cell, len(header))
		for i, h := range header {
			head[i] = cell{h, dim}
		}
		rows = append([][]cell{head}, rows...)
	}
	var widths []int
	for _, row := range rows {
		for i := range row {
			row[i].text = visible(row[i].text)
			c := row[i]
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	columns := 0
	if len(give) > 0 && terminal(a.Out) {
		columns = width(a.Out)
	}
	if columns > 0 {
		narrow(widths, columns, give)
	}
	var b strings.Builder
	for _, row := range rows {
		if columns > 0 {
			row = cut(row, widths, columns)
		}
		last := len(row) - 1
		for last > 0 && row[last].text == "" {
			last--
		}
		for i, c := range row[:last+1] {
			b.WriteString(c.paint(colours))
			if i < last {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+gap))
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(a.Out, b.String())
	return err
}

// gap is what stands between two columns.
const gap = 2

// narrow makes columns give way until the line fits.
func narrow(widths []int, columns int, give []giving) {
	over := -gap - columns
	for _, w := range widths {
		over += w + gap
	}
	for _, g := range give {
		if g.column < len(widths) && over > 0 {
			less := min(over, max(0, widths[g.column]-g.least))
			widths[g.column] -= less
			over -= less
		}
	}
}

// cut returns a row as it fits into columns of such widths, and into a line.
func cut(row []cell, widths []int, columns int) []cell {
	row = slices.Clone(row)
	at := 0
	for i := range row {
		room := columns - at
		if i < len(row)-1 {
			room = min(room, widths[i])
		}
		row[i].text = shortened(row[i].text, max(0, room))
		at += widths[i] + gap
	}
	return row
}

// shortened returns so much of a text as so many columns have room for.
func shortened(text string, columns int) string {
	if utf8.RuneCountInString(text) <= columns {
		return text
	}
	if columns < 1 {
		return ""
	}
	return string([]rune(text)[:columns-1]) + "…"
}

// durationText is short and exact enough for a person: 850ms, 1.2s, 3m20s, 5h12m, 3d4h.
func durationText(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
}

// timeText is a time in UTC, to the millisecond that records have.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05.000Z")
}

// jsonText is JSON on one line.
func jsonText(data json.RawMessage) string {
	var b bytes.Buffer
	if err := json.Compact(&b, data); err != nil {
		return string(data)
	}
	return b.String()
}

// attemptsText is how many attempts were started of how many there may be, and how often one was recovered.
func attemptsText(e *core.Execution) string {
	return attemptsOf(e.Attempts, e.Retry.MaxAttempts, e.Recoveries)
}

func (r record) attemptsText() string { return attemptsOf(r.Attempts, r.MaxAttempts, r.Recoveries) }

func attemptsOf(attempts, most, recoveries int) string {
	s := fmt.Sprintf("%d/%d", attempts, max(1, most))
	if recoveries > 0 {
		s += fmt.Sprintf(" +%d recovered", recoveries)
	}
	return s
}

func (r record) timeoutsText() string {
	ms := func(n int64) string { return durationText(time.Duration(n) * time.Millisecond) }
	s := ms(r.TimeoutMS) + " an attempt"
	if r.SleepKey != "" {
		s = ms(r.TimeoutMS) + " of sleep"
	}
	if r.ScheduleToStartMS > 0 {
		s += ", " + ms(r.ScheduleToStartMS) + " until it starts"
	}
	if r.StartToFinishMS > 0 {
		s += ", " + ms(r.StartToFinishMS) + " in all"
	}
	return s
}

func childrenText(all, active int) string {
	if active == 0 {
		return number(all) + ", all finished"
	}
	return fmt.Sprintf("%s, %s of them not known to be finished", number(all), number(active))
}

// number is a whole number with commas between its thousands.
func number(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
