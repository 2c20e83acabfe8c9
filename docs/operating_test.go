package docs

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rows returns the cells of the rows of a page's table whose heads are as given.
func rows(t *testing.T, page string, heads ...string) [][]string {
	t.Helper()
	_, after, ok := strings.Cut(page, "\n| "+strings.Join(heads, " | ")+" |\n")
	if !ok {
		t.Fatalf("there is no table of %q", heads)
	}
	var all [][]string
	for line := range strings.Lines(after) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if !strings.HasPrefix(cells[0], "---") {
			all = append(all, cells)
		}
	}
	return all
}

// numberOf reads a number such as 1,000,000 at the beginning of a cell.
func numberOf(t *testing.T, cell string) float64 {
	t.Helper()
	digits := regexp.MustCompile(`^[\d,]*\.?\d+`).FindString(cell)
	n, err := strconv.ParseFloat(strings.ReplaceAll(digits, ",", ""), 64)
	if err != nil {
		t.Fatalf("%q is no number", cell)
	}
	return n
}

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The prices are those that the benchmarks reckon with, and the dollars are what comes of them.
func TestThePageOnOperatingReckonsRight(t *testing.T) {
	t.Parallel()
	page, prices := readText(t, "operating.md"), readText(t, "../localtest/bench/prices.go")
	price := func(name string) float64 {
		m := regexp.MustCompile(name + ` += ([\d.]+)( / 1e6)?`).FindStringSubmatch(prices)
		if m == nil {
			t.Fatalf("there is no %s", name)
		}
		return numberOf(t, m[1])
	}
	shown := rows(t, page, "what", "$")
	for i, name := range []string{"priceWriteUnit", "priceReadUnit", "priceInvocation", "priceSchedule", "priceGBSecond"} {
		if got := numberOf(t, shown[i][1]); got != price(name) {
			t.Errorf("%s is %v on the page and %v in the benchmarks", shown[i][0], got, price(name))
		}
	}
	write, read := price("priceWriteUnit"), price("priceReadUnit")
	is := func(cell string, want float64) {
		t.Helper()
		if got := numberOf(t, cell); math.Abs(got-want) > 0.0051 {
			t.Errorf("the page says %s, it is %.4f", cell, want)
		}
	}
	works := readText(t, "../localtest/bench/works.go")
	lives := rows(t, page, "a life", "bench", "write units", "read units", "$ per million")
	if len(lives) != strings.Count(works, "\t\t{\"") {
		t.Errorf("the page has %d lives, the benchmark %d", len(lives), strings.Count(works, "\t\t{\""))
	}
	for _, row := range lives {
		m := regexp.MustCompile(`\{"` + strings.Trim(row[1], "`") + `", ([\d.]+), ([\d.]+),`).FindStringSubmatch(works)
		if m == nil {
			t.Errorf("there is no benchmark %s", row[1])
			continue
		}
		w, r := numberOf(t, row[2]), numberOf(t, row[3])
		if w > numberOf(t, m[1]) || numberOf(t, m[2]) > 0 && r > numberOf(t, m[2]) {
			t.Errorf("%s: %v and %v units are over the benchmark's budget, %s and %s", row[0], w, r, m[1], m[2])
		}
		is(row[4], w*write+r*read)
	}
	for _, row := range rows(t, readText(t, "comparison.md"), "a run", "reckoned as", "$") {
		if m := regexp.MustCompile(`^([\d.]+) write units, ([\d.]+) read units$`).FindStringSubmatch(row[1]); m != nil {
			is(row[2], numberOf(t, m[1])*write+numberOf(t, m[2])*read)
		}
	}
	const million, memory = 1_000_000, 0.5
	for _, row := range rows(t, page, "a month of", "n", "w", "r", "s", "c", "i", "$ table", "$ time", "$ invocations", "$ in all") {
		var v []float64
		for _, cell := range row[1:7] {
			v = append(v, numberOf(t, cell))
		}
		n, w, r, s, c, i := v[0], v[1], v[2], v[3], v[4], v[5]
		table, time, invocations := n*(w*write+r*read)/million, n*s/c*memory*price("priceGBSecond"), i*price("priceInvocation")/million
		is(row[7], table)
		is(row[8], time)
		is(row[9], invocations)
		is(row[10], table+time+invocations)
	}
}

// Limits are what the constants say, and the errors say what the page shows.
func TestThePageOnOperatingHasEveryLimitAndItsError(t *testing.T) {
	t.Parallel()
	all := strings.Join(sources(t), "\n")
	units := strings.NewReplacer("24 * time.Hour", "days", "365 * days", "years")
	limits := rows(t, readText(t, "operating.md"), "what", "limit", "constant", "the error says")
	for _, row := range limits {
		if says := row[3]; says != "" && !strings.Contains(all, says) {
			t.Errorf("%s: no error says %q", row[0], says)
		}
		name := strings.Trim(row[2], "`")
		if name == "" {
			continue
		}
		m := regexp.MustCompile(`(?m)^(?:const)?\s*` + name + ` += ([^/\n]+)`).FindStringSubmatch(all)
		if m == nil {
			t.Errorf("%s: there is no constant %s", row[0], name)
			continue
		}
		value := strings.TrimSpace(m[1])
		switch bytes := regexp.MustCompile(`^(\d+) << (\d+)$`).FindStringSubmatch(value); {
		case bytes != nil:
			value = fmt.Sprint(int(numberOf(t, bytes[1])) << int(numberOf(t, bytes[2])))
		default:
			value = strings.ReplaceAll(units.Replace(units.Replace(value)), "_", "")
			value = strings.ReplaceAll(value, " * ", " ")
		}
		if !strings.Contains(strings.ReplaceAll(row[1], ",", ""), value) {
			t.Errorf("%s: the page says %q, %s is %q", row[0], row[1], name, value)
		}
	}
	named := func(name string) bool {
		return slices.ContainsFunc(limits, func(row []string) bool { return row[2] == "`"+name+"`" })
	}
	for _, name := range found(regexp.MustCompile(`(?m)^\t((?:max|defaultMax)\w+) += `), readText(t, "../core/limits.go")+readText(t, "../core/retry.go")) {
		if name != "defaultMaxDelay" && !named(name) {
			t.Errorf("the limit %s is not on the page", name)
		}
	}
}
