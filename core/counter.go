package core

import (
	"context"
	"sync"
	"time"
)

// counter counts finished children on their parents. Siblings that finish while a count on their parent is
// under way are counted together by the next one, so that a busy family costs few writes and an idle one
// waits for nothing.
type counter struct {
	store  Store
	mu     sync.Mutex
	groups map[string]*countGroup // by parent
}

// countGroup is the siblings that the next write on a parent counts.
type countGroup struct {
	indexes []int
	waiting []chan countAnswer
}

type countAnswer struct {
	parent *Execution
	err    error
}

func newCounter(store Store) *counter {
	return &counter{store: store, groups: map[string]*countGroup{}}
}

// add counts finished children of one parent, at least one. It returns the parent as it is then to one caller of those
// whose children were counted together, and nil to the others.
func (c *counter) add(ctx context.Context, children ...*Execution) (*Execution, error) {
	answer := make(chan countAnswer, 1)
	of := children[0].Parent
	c.mu.Lock()
	group, busy := c.groups[of.ID]
	if !busy {
		group = &countGroup{}
		c.groups[of.ID] = group
	}
	for _, child := range children {
		group.indexes = append(group.indexes, child.Parent.Index)
	}
	group.waiting = append(group.waiting, answer)
	c.mu.Unlock()
	if !busy {
		c.flush(ctx, of.ID, of.Siblings)
	}
	a := <-answer
	return a.parent, a.err
}

// flush writes the groups of a parent until no sibling waits.
func (c *counter) flush(ctx context.Context, parentID string, siblings int) {
	ctx = context.WithoutCancel(ctx) // others wait for this write
	for {
		c.mu.Lock()
		group := c.groups[parentID]
		if len(group.waiting) == 0 {
			delete(c.groups, parentID)
			c.mu.Unlock()
			return
		}
		c.groups[parentID] = &countGroup{}
		c.mu.Unlock()

		var answer countAnswer
		answer.err = persist(ctx, func() error {
			result := c.store.CountFinished(ctx, time.Now(), []Count{{
				ParentID: parentID, Siblings: siblings, Indexes: group.indexes,
			}})[0]
			answer.parent = result.Parent
			return result.Err
		})
		for i, w := range group.waiting {
			if i > 0 {
				answer.parent = nil
			}
			w <- answer
		}
	}
}
