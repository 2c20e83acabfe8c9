package core

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// sequence is what makes a definition that of a sequential or a looping task: its children run one after the
// other.
type sequence struct {
	steps []*definition // of a sequential task
	loop  *loop         // of a looping task
}

// Steps is a task, or several tasks of which each is given what the one before it came to: see Then.
type Steps[In, Out any] interface {
	// steps returns the tasks in order; its arguments stand for their types alone.
	steps(in In, out Out) []*definition
}

func (t *Task[In, Out]) steps(In, Out) []*definition { return []*definition{t.definition()} }

// Chain is Steps of more than one task.
type Chain[In, Out any] struct{ defs []*definition }

func (c *Chain[In, Out]) steps(In, Out) []*definition {
	if c == nil {
		return []*definition{nil}
	}
	return c.defs
}

// Then appends a task of any kind to steps: its input is what they came to. Then(Then(a, b), c) runs a, b and c.
func Then[A, B, C any](before Steps[A, B], next *Task[B, C]) *Chain[A, C] {
	return &Chain[A, C]{append(stepsOf(before), next.definition())}
}

// stepsOf returns a copy of the tasks of steps.
func stepsOf[A, B any](s Steps[A, B]) []*definition {
	if s == nil {
		return []*definition{nil}
	}
	var (
		in  A
		out B
	)
	if defs := s.steps(in, out); len(defs) > 0 {
		return slices.Clone(defs)
	}
	return []*definition{nil} // of a Chain that Then did not make
}

// bookkeeping is the Timeout of a task that has no code of its own to run.
const bookkeeping = 5 * time.Second

// NewSequentialTask returns a task that runs steps one after the other, each given the output of the one before
// it. Its output is the last step's. A step that does not complete ends the sequence as failed, with the step's
// failure: see Failure. Steps may be tasks of any kind; all must be registered. There are at most 1,000. Of the options,
// Timeout and Retry mean nothing here, since a sequence has no code of its own; StartToFinish bounds the whole.
func NewSequentialTask[In, Out any](id string, steps Steps[In, Out], opts TaskOptions) *Task[In, Out] {
	opts.Timeout = bookkeeping
	def := newDefinition[In](id, opts)
	def.sequence = &sequence{steps: stepsOf(steps)}
	return &Task[In, Out]{def}
}

// validate returns what is wrong with a sequence of a task, whose parts must be registered.
func (s *sequence) validate(r *Registry, id string) error {
	if l := s.loop; l != nil {
		switch {
		case l.iteration == nil:
			return invalidf("task %q: its iteration task is nil", id)
		case r.tasks[l.iteration.id] != l.iteration:
			return invalidf("task %q: its iteration task %q is not registered", id, l.iteration.id)
		case l.iteration.sleepKey != nil:
			return invalidf("task %q: its iteration task %q sleeps, under one key at each iteration: make it a step of a sequential task",
				id, l.iteration.id)
		}
		return l.opts.validate(id)
	}
	if n := len(s.steps); n > maxSteps {
		return invalidf("task %q: it has %d steps, the limit is %d", id, n, maxSteps)
	}
	for i, step := range s.steps {
		switch {
		case step == nil:
			return invalidf("task %q: its step %d is nil", id, i)
		case r.tasks[step.id] != step:
			return invalidf("task %q: its step %d, task %q, is not registered", id, i, step.id)
		}
	}
	return nil
}

// commitSequence commits a sequence to its first step, or, for one that redrives another, to the first that did
// not complete there.
func (x *Executor) commitSequence(ctx context.Context, e *Execution, def *definition) error {
	switch undecoded, err := x.undecoded(ctx, e, def); {
	case errors.Is(err, ErrCorrupt):
		return &limitError{err}
	case err != nil:
		return errors.Join(fmt.Errorf("read input: %w", err), x.giveBack(ctx, e, time.Second))
	case undecoded != nil && x.othersMayKnow(e):
		return x.giveBackUndecoded(ctx, e, about(x.log, e))
	case undecoded != nil:
		return &limitError{undecoded}
	}
	now := time.Now()
	steps, size := def.sequence.steps, len(def.sequence.steps)
	loop := def.sequence.loop
	if loop != nil {
		steps, size = []*definition{loop.iteration}, loop.opts.MaxIterations
	}
	specs := make([]Spec, len(steps))
	for i, step := range steps {
		var err error
		if specs[i], err = newSpec(step, nil, EnqueueOptions{}, now); err != nil {
			return &limitError{err}
		}
	}
	ev := CommitChildren{ExecutorID: x.id, Size: size, Sequential: true, Loop: loop != nil}
	if e.RedriveOf != "" {
		old, err := x.family(ctx, e.RedriveOf)
		if err != nil {
			return errors.Join(err, x.giveBack(ctx, e, time.Second))
		}
		if specs, ev.Step, err = x.reuseSteps(ctx, e, old, specs, ev.Loop); err != nil {
			return errors.Join(err, x.giveBack(ctx, e, time.Second))
		}
	}
	first := specs[ev.Step : ev.Step+1]
	if def := steps[min(ev.Step, len(steps)-1)]; def.sleepKey != nil && first[0].OutputOf == "" {
		in := value{data: first[0].Input} // the key of an old step
		if in.data == nil {
			var err error
			if in, err = x.results.input(ctx, e); err != nil {
				return errors.Join(err, x.giveBack(ctx, e, time.Second))
			}
		}
		var err error
		first[0], err = x.sleepSpec(def, in, first[0])
		switch {
		case undecodedBy(err) && x.othersMayKnow(e):
			return x.giveBackUndecoded(ctx, e, about(x.log, e))
		case err != nil:
			return &limitError{fmt.Errorf("step %d: %w", ev.Step, err)}
		}
		if err := x.placeSleepers(ctx, e, first); err != nil {
			return errors.Join(err, x.giveBack(ctx, e, time.Second))
		}
	}
	return x.commitFamily(ctx, e, ev, specs, now)
}

// undecoded returns why the input of a sequence does not decode here, if it does not: the steps, which get it, would be those
// of another version of the program. Input that has to be read from another record is left to the first step.
func (x *Executor) undecoded(ctx context.Context, e *Execution, def *definition) (undecoded, err error) {
	if def.validate != nil || e.Input.IsZero() { // Validate has decoded it
		return nil, nil
	}
	in := value{data: e.Input.Data}
	if in.data == nil {
		if in, err = x.inputOf(ctx, e); err != nil {
			return nil, err
		}
	}
	undecoded = guarded(func() error {
		if err := def.decodes(x.cfg.Codec, in); err != nil {
			return inputError{err, true}
		}
		return nil
	})
	if !undecodedBy(undecoded) { // a panic is the first step's to tell
		undecoded = nil
	}
	return undecoded, nil
}

// sleepSpec returns the spec of a sleeping task with the unique key that its input is.
func (x *Executor) sleepSpec(def *definition, in value, spec Spec) (Spec, error) {
	err := guarded(func() error {
		key, err := def.sleepKey(x.cfg.Codec, in)
		if err != nil {
			return err
		}
		if err := def.check(x.cfg.Codec, in); err != nil {
			return err
		}
		spec.SleepKey = key
		spec.Input, err = encodeValue(x.cfg.Codec, key)
		return err
	})
	return spec, err
}

// parentOf returns the record of the parent of a step that this executor put as running.
func (x *Executor) parentOf(step *Execution) *Execution {
	x.mu.Lock()
	defer x.mu.Unlock()
	if s := x.steps[step.ID]; s != nil {
		return s.parent
	}
	return nil
}

// forgetStep drops what is known of a running step.
func (x *Executor) forgetStep(step *Execution) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.steps, step.ID)
}

// inputOf returns what an execution is given.
func (x *Executor) inputOf(ctx context.Context, e *Execution) (value, error) {
	x.mu.Lock()
	s, unborn := x.steps[e.ID], x.unborn[e.ID] != nil
	x.mu.Unlock()
	switch {
	case s != nil && s.in != nil:
		return *s.in, nil
	case unborn && e.Input.Data != nil:
		return value{data: e.Input.Data}, nil // it came with its parent's commitment
	}
	return x.results.input(ctx, e)
}

// nextStep takes a sequence past its step that is finished, which last is where it is at hand. Nothing happens when
// the step is not finished, or when somebody else was faster.
func (x *Executor) nextStep(ctx context.Context, parent, last *Execution, def *definition) error {
	step := parent.Family.Step
	for {
		err := x.tryNextStep(ctx, parent, last, def)
		var conflict *ConflictError
		switch {
		case errors.Is(err, errUnknownHere) && parent.Family.Processing == ProcessingProcessing:
			return x.releaseUnknown(ctx, parent)
		case errors.Is(err, errUnknownHere):
			return errLeft
		case !errors.As(err, &conflict):
			return err
		}
		parent = conflict.Current
		switch f := parent.Family; {
		case !parent.Status.waiting() || f.Step != step:
			return nil
		case f.Processing == ProcessingProcessing && parent.ExecutorID != x.id:
			return errLeft
		}
	}
}

func (x *Executor) tryNextStep(ctx context.Context, parent, child *Execution, def *definition) error {
	step := parent.Family.Step
	if child == nil {
		found, err := ReadChildren(ctx, x.cfg.Store, parent, []int{step})
		if err != nil {
			return err
		}
		child = found[0]
	}
	end := EndSequence{ExecutorID: x.id, Finished: step}
	switch {
	case child == nil && !parent.Family.StepDone, child != nil && !child.Status.Finished():
		return nil
	case child == nil:
		end.Failure = newFailure(CodeInvalid, (&missingChildError{parent.ChildID(step)}).Error(), "")
	default:
		var err error
		if end.Failure, err = childFailure(ctx, x.cfg.Store, child); err != nil {
			return err
		}
	}
	if end.Failure != nil {
		return x.endSequence(ctx, parent, end)
	}
	specs, err := readManifest(ctx, x.cfg.Store, parent)
	if err != nil {
		return err
	}
	last := step+1 >= parent.Family.Size
	if parent.Family.Loop {
		var done bool
		if specs, end.Output, done, err = x.iterate(ctx, parent, def, child, last); done || err != nil {
			last = true
		}
	} else if !last {
		if _, known := x.cfg.Registry.lookup(specs[step+1].TaskID); !known {
			return errUnknownHere
		}
		err = x.keyOfStep(ctx, parent, child, specs, step+1)
	}
	if err == nil && !last {
		next := min(step+1, len(specs)-1)
		specs[next], err = x.reuseStep(ctx, parent, child, specs[next], step+1)
	}
	var invalid *limitError
	switch {
	case errors.As(err, &invalid):
		end.Output, end.Failure = Payload{}, invalidFailure(err)
		return x.endSequence(ctx, parent, end)
	case err != nil:
		return err
	case last:
		return x.endSequence(ctx, parent, end)
	}
	return x.commitStep(ctx, parent, child, specs)
}

func (x *Executor) endSequence(ctx context.Context, parent *Execution, ev EndSequence) error {
	after, err := x.write(ctx, parent, ev)
	if err != nil {
		return err
	}
	return x.follow.followUp(ctx, after)
}

// keyOfStep completes the spec of a chain's next step where that sleeps: its key is what the step before it came to.
func (x *Executor) keyOfStep(ctx context.Context, parent, before *Execution, specs []Spec, step int) error {
	def, known := x.cfg.Registry.lookup(specs[step].TaskID)
	if !known || def.sleepKey == nil {
		return nil
	}
	in, err := x.results.of(ctx, before)
	if err != nil {
		return err
	}
	specs[step], err = x.sleepSpec(def, in, specs[step])
	switch {
	case undecodedBy(err) && x.othersMayKnow(parent):
		return errUnknownHere
	case err != nil:
		return &limitError{fmt.Errorf("step %d: %w", step, err)}
	}
	return x.placeSleepers(ctx, parent, specs[step:step+1])
}

// commitStep commits a sequence to its next step, puts that in and starts it. That the step exists is not noted: the
// commitment to the one after it, or the end, takes the parent's entry along at no more cost.
func (x *Executor) commitStep(ctx context.Context, parent, before *Execution, specs []Spec) error {
	now := time.Now()
	step := parent.Family.Step + 1
	manifest, err := EncodeManifest(specs)
	if err != nil {
		return err
	}
	spec := specs[min(step, len(specs)-1)]
	ev := CommitStep{
		ExecutorID: x.id, Finished: step - 1, Manifest: parent.Family.Manifest, Sleepers: spec.SleepKey != "",
		KeepUntil: x.keepUntil(now.Add(spec.Delay)), CheckAt: now.Add(spec.Delay + x.cfg.SpawnCheck),
	}
	if parent.Family.Loop || ev.Sleepers || spec.OutputOf != "" || spec.RedriveOf != "" {
		ev.Manifest = Payload{Data: manifest}
	}
	after, err := Transition(parent, ev, now)
	if err != nil {
		return err
	}
	after.Nonce = NewNonce()
	next := x.newChildren(after, []int{step}, specs, now)
	var in *value
	if next[0].Source == (Source{ExecutionID: before.ID, Output: true}) && before.Family == nil && before.OutputOf == "" && before.Output.Data != nil {
		in = &value{data: before.Output.Data}
	}
	if err := x.putAndStart(ctx, Update{parent, after}, next, in, nil); err != nil || spec.OutputOf == "" {
		return err
	}
	// Nobody runs what is born completed. The sequence goes on in a goroutine of its own: there may be many such steps.
	x.work.Go(func() {
		ctx := context.WithoutCancel(ctx)
		if err := x.advance(ctx, after); err != nil {
			about(x.log, after).WarnContext(ctx, "sequence is left to its spawn check", logError, err)
		}
	})
	return nil
}
