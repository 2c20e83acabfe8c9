package core

import (
	"context"
	"fmt"
	"sync/atomic"
)

// Node is an execution with all that is below it.
type Node struct {
	Execution *Execution
	// Children are in order, the finalize execution last. Those that do not exist yet are left out.
	Children []*Node
}

// maxTree is how many executions Tree reads.
const maxTree = 100_000

// Tree returns an execution with all its descendants, as they are while it reads level by level: it is no snapshot.
// Payloads may come without data. The error matches ErrNotFound when there is no such execution, and ErrTooLarge
// when there are more than 100,000 below it.
func (c *Client) Tree(ctx context.Context, id string) (_ *Node, err error) {
	defer because(ctx, &err)
	e, err := c.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	root := &Node{Execution: e}
	var read atomic.Int64
	for level := []*Node{root}; len(level) > 0; {
		err := inParallel(ctx, level, func(ctx context.Context, n *Node) error {
			if n.Execution.Family == nil {
				return nil
			}
			children, err := ReadChildren(ctx, c.store, n.Execution, n.Execution.ChildIndexes())
			if err != nil {
				return fmt.Errorf("read the children of execution %s: %w", n.Execution.ID, err)
			}
			for _, child := range children {
				if child != nil {
					n.Children = append(n.Children, &Node{Execution: child})
				}
			}
			if read.Add(int64(len(n.Children))) > maxTree {
				return fmt.Errorf("%w: execution %s has more than %d descendants: look at a part of the tree", ErrTooLarge, id, maxTree)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		var next []*Node
		for _, n := range level {
			next = append(next, n.Children...)
		}
		level = next
	}
	return root, nil
}

// Walk calls f for the node and all below it, parents before their children, with the depth below the node.
func (n *Node) Walk(f func(depth int, e *Execution)) { n.walk(0, f) }

// WriteUnits returns what the writes of all executions in the tree were billed at so far: see Execution.WriteUnits.
func (n *Node) WriteUnits() int {
	units := 0
	n.Walk(func(_ int, e *Execution) { units += e.WriteUnits })
	return units
}

func (n *Node) walk(depth int, f func(int, *Execution)) {
	f(depth, n.Execution)
	for _, child := range n.Children {
		child.walk(depth+1, f)
	}
}
