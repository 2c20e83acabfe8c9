package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/perdure-dev/perdure/core"
)

// damage sets an attribute of an execution's item by hand; nil removes it.
func damage(t *testing.T, s *TestStore, id, attribute string, v types.AttributeValue) {
	t.Helper()
	in := &dynamodb.UpdateItemInput{
		TableName: aws.String(s.table), Key: primaryKey(id, sortExecution),
		UpdateExpression:         aws.String("REMOVE #a"),
		ExpressionAttributeNames: map[string]string{"#a": attribute},
	}
	if v != nil {
		in.UpdateExpression, in.ExpressionAttributeValues = aws.String("SET #a = :v"), item{":v": v}
	}
	if _, err := testClient(endpoint, nil).UpdateItem(t.Context(), in); err != nil {
		t.Fatal(err)
	}
}

func depth(t *testing.T, s *TestStore, q core.Queue) int {
	t.Helper()
	n, err := s.Depth(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// sweepQueue sweeps one queue as the loops do.
func sweepQueue(t *testing.T, s *TestStore, q core.Queue, at time.Time) (core.Swept, error) {
	t.Helper()
	w := core.Sweep{Now: at, Limit: 10, MaxRecoveries: 5}
	c := core.Claim{Sweep: w, ExecutorID: executor, ExpiresAt: at.Add(time.Minute)}
	switch q {
	case core.QueueReady:
		return s.ClaimReady(t.Context(), core.ReadyClaim{Now: at, Limit: 10, ExecutorID: executor, Left: time.Hour, Leeway: time.Second})
	case core.QueueRunning:
		return s.ExpireRunning(t.Context(), w)
	case core.QueueSleeping:
		return s.ExpireSleeping(t.Context(), w)
	case core.QueueParent:
		return s.ClaimChildrenFinished(t.Context(), c)
	case core.QueueParentClaimed:
		return s.ExpireChildrenFinished(t.Context(), w)
	case core.QueueFinished:
		return s.MarkClosable(t.Context(), w)
	case core.QueueClose:
		return s.ClaimClosable(t.Context(), c)
	case core.QueueClosing:
		return s.ExpireClosing(t.Context(), w)
	case core.QueueNone:
	}
	t.Fatalf("no loop sweeps queue %q", q)
	return core.Swept{}, nil
}

// Whatever is wrong with an item, in whatever queue it is: it is reported and taken out of the queue by the first pass that
// meets it, the others in the queue are served in the same pass, and the passes that follow do not read it.
func TestACorruptItemIsQuarantinedInEveryQueueAndStopsNoOther(t *testing.T) {
	t.Parallel()
	damages := map[string]func(t *testing.T, s *TestStore, id string){
		"no revision":        func(t *testing.T, s *TestStore, id string) { damage(t, s, id, aRev, nil) },
		"revision is text":   func(t *testing.T, s *TestStore, id string) { damage(t, s, id, aRev, text("x")) },
		"attempts are text":  func(t *testing.T, s *TestStore, id string) { damage(t, s, id, aAttempts, text("x")) },
		"no timeout":         func(t *testing.T, s *TestStore, id string) { damage(t, s, id, aTimeout, nil) },
		"timeout is text":    func(t *testing.T, s *TestStore, id string) { damage(t, s, id, aTimeout, text("x")) },
		"no version":         func(t *testing.T, s *TestStore, id string) { damage(t, s, id, aVersion, nil) },
		"no task":            func(t *testing.T, s *TestStore, id string) { damage(t, s, id, aTask, nil) },
		"no creation":        func(t *testing.T, s *TestStore, id string) { damage(t, s, id, aCreated, nil) },
		"units are text":     func(t *testing.T, s *TestStore, id string) { damage(t, s, id, aUnits, text("x")) },
		"input is a number":  func(t *testing.T, s *TestStore, id string) { damage(t, s, id, aInput, number(1)) },
		"a policy of nobody": func(t *testing.T, s *TestStore, id string) { damage(t, s, id, aRetry, text("1/2")) },
	}
	for _, q := range core.Queues() {
		t.Run(string(q), func(t *testing.T) {
			t.Parallel()
			s := testStore(t)
			var log strings.Builder
			s.opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
			n := 0
			for what, do := range damages {
				e := inQueue(fmt.Sprintf("bad%d", n), q)
				insert(t, s, e)
				do(t, s, e.ID)
				n++
				t.Logf("%s: %s", e.ID, what)
			}
			insert(t, s, inQueue("good1", q), inQueue("good2", q))
			at := now.Add(time.Hour)
			done, corrupt := map[string]bool{}, 0
			for pass := 0; pass < 3 && corrupt < n; pass++ { // a pass looks at 10
				swept, err := sweepQueue(t, s, q, at.Add(time.Duration(pass)*5*time.Second))
				if err != nil {
					t.Errorf("pass %d: %v", pass, err)
				}
				corrupt += swept.Corrupt
				for _, e := range swept.Executions {
					done[e.ID] = true
				}
			}
			if corrupt != n || !done["good1"] || !done["good2"] {
				t.Errorf("%d corrupt items were reported, want %d; these were served: %v", corrupt, n, done)
			}
			if got := depth(t, s, QueueQuarantine); got != n {
				t.Errorf("%d items are in quarantine, want %d", got, n)
			}
			found, err := s.Quarantined(t.Context(), 100)
			if err != nil || len(found) != n || found[0].Why == "" || found[0].At.Before(at) {
				t.Errorf("in quarantine: %+v, error %v", found, err)
			}
			for i := range n {
				if id := fmt.Sprintf("bad%d", i); !strings.Contains(log.String(), id) {
					t.Errorf("the log does not name %s", id)
				}
			}
			if _, err := s.Get(t.Context(), []string{"bad0"}, core.Filter{}); !errors.Is(err, core.ErrCorrupt) || !strings.Contains(err.Error(), "bad0") {
				t.Errorf("get: %v, want an error that matches ErrCorrupt", err)
			}
		})
	}
}

// inQueue returns a record that is due in a queue at now.
func inQueue(id string, q core.Queue) *core.Execution {
	e := ready(id, 10)
	at := core.Millis(now)
	e.Queue, e.DueAt = q, at
	family := &core.Family{Nonce: "f", Size: 1, Manifest: core.Payload{Data: []byte(`[{}]`)}, Processing: core.ProcessingIdle}
	switch q {
	case core.QueueRunning:
		e.Status, e.ExecutorID, e.Attempts, e.StartedAt, e.ExpiresAt = core.StatusRunning, "gone", 1, at, at
	case core.QueueSleeping:
		e = core.NewExecution(id, core.Spec{TaskID: "t", SleepKey: id, Timeout: time.Second}, now)
	case core.QueueParent:
		e.Status, e.Family = core.StatusWaitingForChildren, family
	case core.QueueParentClaimed:
		family.Processing, family.ProcessingExpiresAt = core.ProcessingProcessing, at
		e.Status, e.Family = core.StatusWaitingForChildren, family
	case core.QueueFinished:
		e.Status, e.FinishedAt, e.Family = core.StatusCancelled, at, family
	case core.QueueClose:
		e.Status, e.FinishedAt, e.Family, e.CloseStatus = core.StatusCancelled, at, family, core.CloseReady
	case core.QueueClosing:
		e.Status, e.FinishedAt, e.Family, e.CloseStatus, e.CloseExpiresAt = core.StatusCancelled, at, family, core.CloseClosing, at
	case core.QueueReady, core.QueueNone:
	}
	return e
}

// A repaired item goes on where it was.
func TestARepairedItemIsRestored(t *testing.T) {
	t.Parallel()
	s := testStore(t)
	insert(t, s, ready("a", 10))
	damage(t, s, "a", aRetry, text("x"))
	if got := claim(t, s, now, time.Hour); len(got) != 0 {
		t.Fatalf("claimed %v", got)
	}
	if err := s.Restore(t.Context(), "a", now); !errors.Is(err, core.ErrCorrupt) || !strings.Contains(err.Error(), `"re"`) {
		t.Errorf("restored though it does not decode: %v", err)
	}
	damage(t, s, "a", aRetry, nil)
	if _, err := s.Get(t.Context(), []string{"a"}, core.Filter{}); err == nil || !strings.Contains(err.Error(), "quarantine") {
		t.Errorf("a repaired item that was not restored: %v, want an error that says so", err)
	}
	if err := s.Restore(t.Context(), "a", now); err != nil {
		t.Fatal(err)
	}
	if n := depth(t, s, QueueQuarantine); n != 0 {
		t.Errorf("%d items are in quarantine", n)
	}
	// The claim itself had succeeded: the lease runs out, as that of a dead executor.
	if swept, err := s.ExpireRunning(t.Context(), core.Sweep{Now: now.Add(time.Hour), Limit: 10, MaxRecoveries: 5}); err != nil || len(swept.Executions) != 1 {
		t.Errorf("swept %+v, error %v", swept, err)
	}
	if err := s.Restore(t.Context(), "a", now); !errors.Is(err, core.ErrNotAllowed) {
		t.Errorf("restored twice: %v", err)
	}
	if err := s.Restore(t.Context(), "nobody", now); !errors.Is(err, core.ErrNotFound) {
		t.Errorf("restored nobody: %v", err)
	}
}

// While a deploy is in progress the newer program treats its own items; nobody else takes them out of their queue until
// they have been due for an hour.
func TestAnItemOfALaterVersionIsQuarantinedWhenNobodyTreatsIt(t *testing.T) {
	t.Parallel()
	for _, q := range []core.Queue{core.QueueReady, core.QueueRunning} {
		s := testStore(t)
		insert(t, s, inQueue("a", q))
		damage(t, s, "a", aVersion, number(schemaVersion+1))
		for after, want := range map[time.Duration]int{time.Minute: 0, 59 * time.Minute: 0} {
			if swept, err := sweepQueue(t, s, q, now.Add(after)); err != nil || swept.Corrupt != want || len(swept.Executions) != 0 {
				t.Errorf("%s: %s after it was due: %+v, error %v", q, after, swept, err)
			}
		}
		if swept, err := sweepQueue(t, s, q, now.Add(laterVersionLimit+time.Minute)); err != nil || swept.Corrupt != 1 {
			t.Errorf("%s: after the limit: %+v, error %v", q, swept, err)
		}
	}
}

// An item in the queue index that is no execution, such as one that somebody put in by hand, is taken out of it.
func TestAForeignItemIsTakenOutOfTheQueue(t *testing.T) {
	t.Parallel()
	s := testStore(t)
	it := primaryKey("stranger", "what")
	it[indexQueue], it[indexDueAt] = text(queueKey(core.QueueReady, 0)), number(1)
	if _, err := s.api.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(s.table), Item: it}); err != nil {
		t.Fatal(err)
	}
	insert(t, s, ready("a", 10))
	if got := claim(t, s, now, time.Hour); len(got) != 1 {
		t.Errorf("claimed %v, want a", got)
	}
	if r, q := depth(t, s, core.QueueReady), depth(t, s, QueueQuarantine); r != 0 || q != 1 {
		t.Errorf("%d ready, %d in quarantine, want 0 and 1", r, q)
	}
}

// A child ends though its parent cannot be read; once the parent is restored it goes on, with that child counted.
func TestAChildOfACorruptParentEndsAndIsCountedWhenTheParentIsRestored(t *testing.T) {
	t.Parallel()
	s := testStore(t)
	g := newGoldenTasks()
	client, err := core.NewClient(s, core.ClientOptions{Registry: g.registry(t)})
	if err != nil {
		t.Fatal(err)
	}
	startEngine(t.Context(), t, s, g)
	h, err := g.parent.EnqueueWith(t.Context(), client, "p", core.EnqueueOptions{ID: "p"})
	if err != nil {
		t.Fatal(err)
	}
	var children []*core.Execution
	poll(t, func() bool {
		found, err := s.Children(t.Context(), []string{"p"})
		if err != nil {
			t.Fatal(err)
		}
		children = found[0]
		return len(children) == 2 && one(t, s, "p").Family.Spawned
	})
	damage(t, s, "p", aCreated, text("long ago"))
	close(g.gate)
	gated := children[1].ID
	poll(t, func() bool { return one(t, s, gated).CloseStatus == core.CloseClosed })
	if n := depth(t, s, QueueQuarantine); n != 1 {
		t.Fatalf("%d items are in quarantine, want the parent's", n)
	}
	damage(t, s, "p", aCreated, number(time.Now().UnixMilli()))
	if err := s.Restore(t.Context(), "p", time.Now()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if out, err := h.Wait(ctx); err != nil || out != "p:p0p1" {
		t.Errorf("output %q, error %v", out, err)
	}
}

// A parent of which not all children have ended goes on waiting for the others when it is restored: it was once held under
// a lease that nobody gave back, or not looked at before its time was over.
func TestARestoredParentIsCheckedOnceMore(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]time.Duration{"without a limit": 0, "with a limit": time.Hour} {
		t.Run(name, func(t *testing.T) {
			s := testStore(t)
			p := core.NewExecution("p", core.Spec{TaskID: "t", Timeout: time.Minute, StartToFinish: limit}, now)
			for _, ev := range []core.Event{
				core.StartAttempt{ExecutorID: "x", Left: time.Hour, Leeway: time.Second},
				core.CommitChildren{ExecutorID: "x", Nonce: "n", Size: 2, CheckAt: now.Add(10 * time.Second)},
				core.ChildrenSpawned{},
			} {
				var err error
				if p, err = core.Transition(p, ev, now); err != nil {
					t.Fatal(err)
				}
			}
			insert(t, s, p)
			damage(t, s, "p", aCreated, text("long ago"))
			if got := s.CountFinished(t.Context(), now, []core.Count{{ParentID: "p", Indexes: []int{0}}})[0]; got.Err != nil {
				t.Fatal(got.Err)
			}
			damage(t, s, "p", aCreated, number(now.UnixMilli()))
			later := now.Add(time.Minute)
			if err := s.Restore(t.Context(), "p", later); err != nil {
				t.Fatal(err)
			}
			swept, err := s.ClaimChildrenFinished(t.Context(), core.Claim{
				Sweep: core.Sweep{Now: later, Limit: 10}, ExecutorID: "y", ExpiresAt: later.Add(time.Minute),
			})
			if err != nil || len(swept.Executions) != 1 {
				t.Fatalf("claimed %v, error %v", swept.Executions, err)
			}
			after, err := core.Transition(swept.Executions[0], core.ChildrenSpawned{Units: []int{0}}, later)
			if err != nil || after.ActiveChildren() != 1 || after.Family.Processing != core.ProcessingIdle {
				t.Errorf("the check came to %+v, error %v", after, err)
			}
		})
	}
}

// A payload that cannot be read fails its execution; it is not attempted every second for ever.
func TestAnExecutionWhosePayloadCannotBeReadFails(t *testing.T) {
	t.Parallel()
	s := testStore(t)
	g := newGoldenTasks()
	client, err := core.NewClient(s, core.ClientOptions{Registry: g.registry(t)})
	if err != nil {
		t.Fatal(err)
	}
	for id, spoil := range map[string]func(it item){
		"spoiled": func(it item) { it[aPartData] = &types.AttributeValueMemberB{Value: []byte{1, 2, 3}} },
		"gone":    nil,
	} {
		if _, err := g.echo.EnqueueWith(t.Context(), client, large, core.EnqueueOptions{ID: id}); err != nil {
			t.Fatal(err)
		}
		out, err := s.api.Query(t.Context(), &dynamodb.QueryInput{
			TableName: aws.String(s.table), KeyConditionExpression: aws.String("pk = :pk AND begins_with(sk, :p)"),
			ExpressionAttributeValues: item{":pk": text(id), ":p": text("p#")},
		})
		if err != nil || len(out.Items) == 0 {
			t.Fatalf("%d parts, error %v", len(out.Items), err)
		}
		it := out.Items[0]
		if spoil == nil {
			_, err = s.api.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: aws.String(s.table), Key: item{keyPK: it[keyPK], keySK: it[keySK]}})
		} else {
			spoil(it)
			_, err = s.api.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(s.table), Item: it})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	startEngine(t.Context(), t, s, g)
	for _, id := range []string{"spoiled", "gone"} {
		poll(t, func() bool { return one(t, s, id).Status.Finished() })
		if e := one(t, s, id); e.Status != core.StatusFailed || e.Failure.Code != core.CodeInvalid || !strings.Contains(e.Failure.Message, "payload") {
			t.Errorf("%s is %s: %+v", id, e.Status, e.Failure)
		}
	}
}
