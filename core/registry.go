package core

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Registry holds the tasks that an engine can run, by id.
type Registry struct{ tasks map[string]*definition }

var (
	taskIDPattern      = regexp.MustCompile(`^[A-Za-z0-9_]{1,255}$`)
	executionIDPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	// anyIDPattern is that of ids that callers choose and of derived ones, which begin with a letter and a dot.
	anyIDPattern = regexp.MustCompile(`^([a-z]\.)?[A-Za-z0-9_-]{1,64}$`)
)

const maxDuration = 10 * 365 * 24 * time.Hour

// NewRegistry returns a registry of the given tasks. The error, which matches ErrInvalid, joins all that is
// wrong: ids that are malformed or taken, missing functions, options out of range, finalize tasks that are
// not registered. A task that a parent's run returns as a child must be registered too.
func NewRegistry(tasks ...Definition) (*Registry, error) {
	r := &Registry{tasks: make(map[string]*definition, len(tasks))}
	var errs []error
	for i, t := range tasks {
		def := (*definition)(nil)
		if t != nil {
			def = t.definition()
		}
		switch {
		case def == nil:
			errs = append(errs, invalidf("task: number %d of the registered tasks is nil", i+1))
			continue
		case !taskIDPattern.MatchString(def.id):
			errs = append(errs, invalidf("task id %q: it must have 1 to 255 letters, digits and underscores", def.id))
		case r.tasks[def.id] != nil:
			errs = append(errs, invalidf("task id %q: it is registered twice", def.id))
		case def.run == nil && def.sequence == nil && def.sleepKey == nil:
			errs = append(errs, invalidf("task %q: its function is nil", def.id))
		case def.hasFinalize && def.finalize == nil && def.finalizeTask == nil:
			errs = append(errs, invalidf("task %q: its finalize is nil", def.id))
		case def.hasValidate && def.validate == nil:
			errs = append(errs, invalidf("task %q: its Validate function is nil", def.id))
		}
		if err := def.opts.validate(def); err != nil {
			errs = append(errs, err)
		}
		r.tasks[def.id] = def
	}
	for _, def := range r.tasks {
		if f := def.finalizeTask; f != nil && r.tasks[f.id] != f {
			errs = append(errs, invalidf("task %q: its finalize task %q is not registered", def.id, f.id))
		}
		if def.sequence != nil {
			if err := def.sequence.validate(r, def.id); err != nil {
				errs = append(errs, err)
			}
		}
	}
	if len(errs) > 0 {
		slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
		return nil, errors.Join(errs...)
	}
	return r, nil
}

// IDs returns the ids of the registered tasks, sorted.
func (r *Registry) IDs() []string {
	ids := make([]string, 0, len(r.tasks))
	for id := range r.tasks {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// encodeBy makes the tasks' children be encoded by a codec, as soon as they are made.
func (r *Registry) encodeBy(c *Codec) {
	for _, def := range r.tasks {
		def.codec.Store(c)
	}
}

// TaskInfo is what others may want to know of a registered task.
type TaskInfo struct {
	ID   string
	Kind TaskKind
	// Timeout is that of an attempt, or of the sleep of a sleeping task.
	Timeout time.Duration
	// Sleeping tells a sleeping task, which makes no attempts.
	Sleeping bool
	// MaxAttempts is how often an execution is attempted in all; 0 for a task without code of its own, which is sequential,
	// looping or sleeping.
	MaxAttempts int
	// Delay, ScheduleToStart and StartToFinish are those of TaskOptions; 0 for none.
	Delay, ScheduleToStart, StartToFinish time.Duration
}

// TaskKind is what an execution of a task does: see the package's documentation.
type TaskKind string

// The kinds of tasks.
const (
	KindTask       TaskKind = "task"       // of NewTask
	KindParent     TaskKind = "parent"     // of NewParentTask, with a finalize or without
	KindSequential TaskKind = "sequential" // of NewSequentialTask
	KindLooping    TaskKind = "looping"    // of NewLoopingTask
	KindSleeping   TaskKind = "sleeping"   // of NewSleepingTask
)

func (d *definition) kind() TaskKind {
	switch {
	case d.sleepKey != nil:
		return KindSleeping
	case d.sequence != nil && d.sequence.loop != nil:
		return KindLooping
	case d.sequence != nil:
		return KindSequential
	case d.parent:
		return KindParent
	}
	return KindTask
}

func (d *definition) info() TaskInfo {
	t := TaskInfo{
		ID: d.id, Kind: d.kind(), Timeout: d.opts.Timeout, Sleeping: d.sleepKey != nil,
		Delay: d.opts.Delay, ScheduleToStart: d.opts.ScheduleToStart, StartToFinish: d.opts.StartToFinish,
	}
	if d.run != nil {
		t.MaxAttempts = max(1, d.opts.Retry.MaxAttempts)
	}
	return t
}

// Tasks returns the registered tasks, sorted by their ids.
func (r *Registry) Tasks() []TaskInfo {
	tasks := make([]TaskInfo, 0, len(r.tasks))
	for _, id := range r.IDs() {
		tasks = append(tasks, r.tasks[id].info())
	}
	return tasks
}

func (r *Registry) lookup(id string) (*definition, bool) {
	if r == nil {
		return nil, false
	}
	def, ok := r.tasks[id]
	return def, ok
}

// timeouts returns the shortest and the longest timeout of a registered task's attempts; zeros when there is none.
func (r *Registry) timeouts() (shortest, longest time.Duration) {
	for _, def := range r.tasks {
		t := def.opts.Timeout
		if def.sleepKey != nil {
			continue // it makes no attempts
		}
		if shortest == 0 || t < shortest {
			shortest = t
		}
		longest = max(longest, t)
	}
	return shortest, longest
}

func (o TaskOptions) validate(def *definition) error {
	id := def.id
	if err := checkBound("task", def, "ScheduleToStart", o.ScheduleToStart); err != nil {
		return err
	}
	if err := checkBound("task", def, "StartToFinish", o.StartToFinish); err != nil {
		return err
	}
	switch {
	case o.Timeout < time.Millisecond || o.Timeout > maxDuration:
		return invalidf("task %q: Timeout is %s, must be from 1ms to %s", id, o.Timeout, maxDuration)
	case o.Delay < 0 || o.Delay > maxDuration:
		return invalidf("task %q: Delay is %s, must be from 0 to %s", id, o.Delay, maxDuration)
	}
	if err := o.Retry.validate(); err != nil {
		return invalidf("task %q: %w", id, err)
	}
	return nil
}
