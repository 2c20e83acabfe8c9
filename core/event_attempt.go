package core

import (
	"fmt"
	"time"
)

// StartAttempt gives a due execution to an executor. ready -> running, under a lease of the task's timeout
// and the leeway.
type StartAttempt struct {
	ExecutorID string
	// Left is the time that the executor has for the attempt; a task with a longer timeout is refused, unless no code is
	// to run: the timeout is longer than Most, or ScheduleToStart or StartToFinish is over. The lease is no longer than
	// 30 s and the leeway then.
	Left time.Duration
	// Most is the longest timeout that any executor has time for; 0 for no bound.
	Most   time.Duration
	Leeway time.Duration
	// RecoveredBelow refuses executions that were recovered that often or more, unless no code is to run; 0 refuses none.
	RecoveredBelow int
}

func (StartAttempt) name() string   { return "start_attempt" }
func (StartAttempt) from() []Status { return []Status{StatusReady} }

func (ev StartAttempt) apply(e *Execution, now time.Time) string {
	if reason := e.dueIn(QueueReady, now); reason != "" {
		return reason
	}
	lease := e.Timeout
	switch {
	case ev.Most > 0 && e.Timeout > ev.Most, e.over(now):
		if e.Timeout > ev.Left {
			lease = min(lease, defaultTimeout) // for the write that ends it
		}
	case e.Timeout > ev.Left:
		return fmt.Sprintf("its timeout %s is longer than the %s that are left", e.Timeout, ev.Left)
	case ev.RecoveredBelow > 0 && e.Recoveries >= ev.RecoveredBelow:
		return fmt.Sprintf("it was recovered %d times, and has to run apart", e.Recoveries)
	}
	e.Status, e.ExecutorID, e.Attempts = StatusRunning, ev.ExecutorID, e.Attempts+1
	e.StartedAt, e.ExpiresAt = now, Millis(now.Add(lease+ev.Leeway))
	e.entry(QueueRunning, e.ExpiresAt)
	return ""
}

// Succeed ends an execution without children. running -> completed.
type Succeed struct {
	ExecutorID string
	Output     Payload
}

func (Succeed) name() string   { return "succeed" }
func (Succeed) from() []Status { return []Status{StatusRunning} }

func (ev Succeed) apply(e *Execution, now time.Time) string {
	if reason := e.holder(ev.ExecutorID); reason != "" {
		return reason
	}
	e.Output = ev.Output
	e.finish(StatusCompleted, nil, now, true)
	return ""
}

// FailAttempt ends an attempt. running -> ready when the retry policy and StartToFinish allow another one, else
// failed, or timed_out when the failure's code is that of a timeout.
type FailAttempt struct {
	ExecutorID string
	Failure    Failure
	Final      bool          // no further attempt, whatever the policy allows
	Delay      time.Duration // before the next attempt
}

func (FailAttempt) name() string   { return "fail_attempt" }
func (FailAttempt) from() []Status { return []Status{StatusRunning} }

func (ev FailAttempt) apply(e *Execution, now time.Time) string {
	if reason := e.holder(ev.ExecutorID); reason != "" {
		return reason
	}
	e.startClock()
	last := ev.Final || e.Attempts >= e.Retry.attempts()
	switch {
	case !last && e.late(now.Add(ev.Delay)):
		e.finish(StatusTimedOut, tooLong(e, ev.Failure.Message), now, true)
	case !last:
		e.Failure = &ev.Failure
		e.endEpisode()
		e.ready(now.Add(ev.Delay))
	case ev.Failure.timedOut():
		e.finish(StatusTimedOut, &ev.Failure, now, true)
	default:
		e.finish(StatusFailed, &ev.Failure, now, true)
	}
	return ""
}

// startClock notes when StartToFinish ends, once an attempt was begun.
func (e *Execution) startClock() {
	if e.StartToFinish > 0 && e.FinishBy.IsZero() {
		e.FinishBy = Millis(e.StartedAt.Add(e.StartToFinish))
	}
}

// late reports whether StartToFinish is over at the given time.
func (e *Execution) late(at time.Time) bool { return !e.FinishBy.IsZero() && !at.Before(e.FinishBy) }

// waitedTooLong reports whether an attempt that starts at the given time has waited longer than ScheduleToStart.
func (e *Execution) waitedTooLong(start time.Time) bool {
	return e.ScheduleToStart > 0 && start.Sub(e.StartAt) > e.ScheduleToStart
}

// over reports whether no code is to run for the execution at the given time, since a bound of its time is over.
func (e *Execution) over(at time.Time) bool {
	return e.late(at) || e.Family == nil && e.waitedTooLong(at)
}

// tooLong is the failure of an execution that took longer than StartToFinish; last is what its last attempt
// came to, if anything.
func tooLong(e *Execution, last string) *Failure {
	text := fmt.Sprintf("start-to-finish timeout of %s is over", e.StartToFinish)
	if last != "" {
		text += ", or would be at the next attempt; the last one: " + last
	}
	return newFailure(CodeStartToFinish, text, "")
}

// endEpisode notes that an executor that knows the task has come to an end with it by itself: crashes, and executors that
// do not know it, are counted anew from here on.
func (e *Execution) endEpisode() { e.Recoveries, e.UnknownSince = 0, time.Time{} }

// ready puts the execution back among those that wait for an executor.
func (e *Execution) ready(at time.Time) {
	e.Status, e.ExecutorID, e.ExpiresAt = StatusReady, "", time.Time{}
	e.StartAt = Millis(at)
	e.entry(QueueReady, at)
}

// GiveBack undoes StartAttempt: the attempt was not begun, or does not count. running -> ready after Delay. It leaves
// the recoveries as they are, since code that kills its process has not come to an end by that.
type GiveBack struct {
	ExecutorID string
	Delay      time.Duration
	// Unknown tells that the executor does not know the task. One that does ends the time for which it was unknown.
	Unknown bool
	// Late tells that the attempt's time was over before its code could begin. It counts for nothing.
	Late bool
}

func (GiveBack) name() string   { return "give_back" }
func (GiveBack) from() []Status { return []Status{StatusRunning} }

func (ev GiveBack) apply(e *Execution, now time.Time) string {
	if reason := e.holder(ev.ExecutorID); reason != "" {
		return reason
	}
	e.unknown(ev.Unknown, now)
	e.Attempts--
	e.ready(now.Add(ev.Delay))
	return ""
}

// unknown notes whether an executor knew the execution's task.
func (e *Execution) unknown(unknown bool, now time.Time) {
	switch {
	case !unknown:
		e.UnknownSince = time.Time{}
	case e.UnknownSince.IsZero():
		e.UnknownSince = now
	}
}

// ExpireLease looks at an execution whose entry in queue running is due. An attempt whose executor died is
// recovered, running -> ready, or failed after MaxRecoveries; an execution whose executor died between its
// finish and the follow-up goes on to queue finished.
type ExpireLease struct{ MaxRecoveries int }

func (ExpireLease) name() string   { return "expire_lease" }
func (ExpireLease) from() []Status { return append([]Status{StatusRunning}, finished()...) }

func (ev ExpireLease) apply(e *Execution, now time.Time) string {
	if reason := e.dueIn(QueueRunning, now); reason != "" {
		return reason
	}
	if e.Status.Finished() {
		e.entry(QueueFinished, now)
		return ""
	}
	e.startClock()
	e.Recoveries++
	e.UnknownSince = time.Time{} // who does not know a task gives it back at once
	switch {
	case e.Recoveries > ev.MaxRecoveries:
		e.finish(StatusFailed, crashed(e.Recoveries), now, false)
		return ""
	case e.late(now):
		e.finish(StatusTimedOut, tooLong(e, ""), now, false)
		return ""
	}
	e.Attempts--
	e.ready(now)
	return ""
}

func crashed(times int) *Failure {
	return newFailure(CodeCrashed, fmt.Sprintf("crashed too often: its executor was lost %d times", times), "")
}

// Wake ends a sleep with the given output, or failure when it is not nil. running -> completed or failed.
type Wake struct {
	Output  Payload
	Failure *Failure
}

func (Wake) name() string   { return "wake" }
func (Wake) from() []Status { return []Status{StatusRunning} }

func (ev Wake) apply(e *Execution, now time.Time) string {
	if !e.Sleeping() {
		return "it is not a sleeping task"
	}
	status := StatusCompleted
	if ev.Failure != nil {
		status = StatusFailed
	} else {
		e.Output = ev.Output
	}
	e.finish(status, ev.Failure, now, false)
	return ""
}

// Adopt puts a sleeper in the place of a wake-up that was kept for it, which ends the sleep at once. A wake-up
// that is too old, or no longer kept, gives way to whatever comes: a sleeper, or another wake-up.
type Adopt struct{ Sleeper *Execution }

func (Adopt) name() string   { return "adopt" }
func (Adopt) from() []Status { return []Status{StatusCompleted, StatusFailed} }

func (ev Adopt) apply(e *Execution, now time.Time) string {
	kept := *e
	fresh := kept.ExpiresAt.After(now)
	switch {
	case !kept.Kept:
		return "it is no kept wake-up"
	case fresh && ev.Sleeper.Kept:
		return "a wake-up is kept already"
	case fresh && kept.TaskID != ev.Sleeper.TaskID:
		return fmt.Sprintf("the wake-up is one of task %s, not %s", kept.TaskID, ev.Sleeper.TaskID)
	}
	*e = *ev.Sleeper.clone()
	e.Rev = kept.Rev
	if fresh {
		e.Output = kept.Output
		e.finish(kept.Status, kept.Failure, now, false)
	}
	return ""
}

// newKept returns the record of a wake-up that came before its sleeper.
func newKept(id, taskID, key string, w Wake, now time.Time, keep time.Duration) *Execution {
	e := NewExecution(id, Spec{TaskID: taskID, SleepKey: key}, now)
	e.Kept, e.ExpiresAt = true, Millis(now.Add(keep))
	e.Status, e.Output, e.Failure = StatusCompleted, w.Output, w.Failure
	if w.Failure != nil {
		e.Status = StatusFailed
	}
	e.FinishedAt = e.CreatedAt
	e.close(e.CreatedAt)
	return e
}

// ExpireSleep ends a sleep that nobody ended in time. running -> timed_out.
type ExpireSleep struct{}

func (ExpireSleep) name() string   { return "expire_sleep" }
func (ExpireSleep) from() []Status { return []Status{StatusRunning} }

func (ExpireSleep) apply(e *Execution, now time.Time) string {
	if reason := e.dueIn(QueueSleeping, now); reason != "" {
		return reason
	}
	e.finish(StatusTimedOut, newFailure(CodeTimedOut, "nobody woke it within its timeout", ""), now, false)
	return ""
}
