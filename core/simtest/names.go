package simtest

import (
	"regexp"
	"strconv"
	"sync"

	"github.com/perdure-dev/perdure/core"
)

// Names gives executions names that are the same in every run: a root's own id, and for a child its parent's name and
// its index. The ids of children are not: they are derived from what is drawn at random. It is safe for concurrent use.
type Names struct {
	mu   sync.Mutex
	byID map[string]string
}

// NewNames returns names that know nothing.
func NewNames() *Names { return &Names{byID: map[string]string{}} }

// Learn takes notice of a record: of its own name where it is a child, and of the names of those that it commits to.
func (n *Names) Learn(e *core.Execution) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, known := n.byID[e.ID]; !known && e.Parent != nil {
		n.byID[e.ID] = n.of(e.Parent.ID) + "/" + strconv.Itoa(e.Parent.Index)
	}
	if e.Family == nil {
		return
	}
	name := n.of(e.ID)
	for _, i := range e.ChildIndexes() {
		id := e.ChildID(i)
		if _, known := n.byID[id]; !known {
			n.byID[id] = name + "/" + strconv.Itoa(i)
		}
	}
}

// Of returns an execution's name.
func (n *Names) Of(id string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.of(id)
}

var derivedID = regexp.MustCompile(`\b[cksr]\.[a-z2-7]{24}\b`)

// In returns a text with the names of the executions whose ids are in it.
func (n *Names) In(text string) string {
	return derivedID.ReplaceAllStringFunc(text, func(id string) string {
		if name := n.Of(id); name != id {
			return id + " (" + name + ")"
		}
		return id
	})
}

func (n *Names) of(id string) string {
	if name, known := n.byID[id]; known {
		return name
	}
	return id
}
