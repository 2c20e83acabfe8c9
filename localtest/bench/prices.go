package main

import "time"

// Prices in dollars, on demand, in us-east-1, without free tiers, as guides of 2024 to 2026 quote the
// services' pricing pages (compared on 2026-11-24; the pages themselves are the authority):
// https://aws.amazon.com/lambda/pricing/ (arm64), https://aws.amazon.com/dynamodb/pricing/on-demand/ and
// https://aws.amazon.com/eventbridge/pricing/ (Scheduler). That Lambda reads a stream costs nothing.
const (
	priceInvocation = 0.20 / 1e6
	priceGBSecond   = 0.0000133334
	priceSchedule   = 1.00 / 1e6 // each invocation that EventBridge Scheduler makes
	priceWriteUnit  = 0.625 / 1e6
	priceReadUnit   = 0.125 / 1e6
)

// hoursOfMonth is what a month is taken to have.
const hoursOfMonth = 730

// bill is what an amount of time costs.
type bill struct {
	Invocations int     `json:"invocations"` // all of them scheduled
	GBSeconds   float64 `json:"gb_seconds"`
	Read        float64 `json:"read_units"`
	Write       float64 `json:"write_units"`
	Dollars     float64 `json:"dollars"`
}

// add adds invocations that take as long and consume as much as one does.
func (b *bill) add(n int, took time.Duration, memoryMB int, read, write float64) {
	count := float64(n)
	seconds := count * took.Seconds() * float64(memoryMB) / 1024
	b.Invocations += n
	b.GBSeconds += seconds
	b.Read += count * read
	b.Write += count * write
	b.Dollars += count*(priceInvocation+priceSchedule+read*priceReadUnit+write*priceWriteUnit) + seconds*priceGBSecond
}
