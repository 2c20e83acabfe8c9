package core

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"time"
)

// What a page of a list has by default and at most.
const (
	defaultPage = 100
	maxPage     = 1000
)

// Listing says which root executions a list has; the zero value lists all of them. The executions below a root are
// seen through Client.Children and Client.Tree.
type Listing struct {
	// Status leaves out all executions that do not have it. Default: any.
	Status Status
	// TaskID leaves out the executions of all other tasks. Default: any.
	TaskID string
	// Since leaves out executions that were created before it, Until those that were not. Default: none.
	Since, Until time.Time
	// Limit is how many executions a page has at most, up to 1,000. Default 100.
	Limit int
	// After is the Next of the page before. It is a place in the order of all executions, so another listing may go
	// on from it too. Default: the list begins with the newest.
	After string
}

// Page is a part of a list, newest first.
type Page struct {
	// Executions come without the data of some payloads, as from Client.Get.
	Executions []*Execution
	// Next is the After of the page that follows; empty at the end of the list.
	Next string
}

// List returns a page of the root executions that match the listing, newest first: by CreatedAt, and of those that
// were created in the same millisecond the greater id first. No execution comes on two pages, and those that are
// created meanwhile come on none; a page may be short, or empty, and still have a Next.
//
// An execution that was created or has finished a moment ago may be missing, since the store's list may lag; what is
// returned matches as it stands. The error matches ErrNotListed when the store keeps no list, and ErrInvalid when
// the listing breaks a rule.
func (c *Client) List(ctx context.Context, l Listing) (_ Page, err error) {
	defer because(ctx, &err)
	if err := ended(ctx); err != nil {
		return Page{}, fmt.Errorf("list executions: %w", err)
	}
	page, err := c.store.List(ctx, time.Now(), l)
	if err != nil {
		return Page{}, fmt.Errorf("list executions: %w", err)
	}
	return page, nil
}

// ListAll returns all executions of the listing from After on, reading pages of Limit as they are needed. An error
// ends it.
func (c *Client) ListAll(ctx context.Context, l Listing) iter.Seq2[*Execution, error] {
	return func(yield func(*Execution, error) bool) {
		for l := l; ; {
			page, err := c.List(ctx, l)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, e := range page.Executions {
				if !yield(e, nil) {
					return
				}
			}
			if l.After = page.Next; l.After == "" {
				return
			}
		}
	}
}

// Resolve returns the listing with its defaults filled in and the place that After names, for a store to go by. The
// error matches ErrInvalid.
func (l Listing) Resolve() (Listing, Place, error) {
	if l.Limit == 0 {
		l.Limit = defaultPage
	}
	switch {
	case l.Limit < 0 || l.Limit > maxPage:
		return l, Place{}, invalidf("listing: Limit is %d, must be from 1 to %d", l.Limit, maxPage)
	case l.Status != "" && !slices.Contains(Statuses(), l.Status):
		return l, Place{}, invalidf("listing: Status %q is none of %q", l.Status, Statuses())
	case !l.Until.IsZero() && !l.Until.After(l.Since):
		return l, Place{}, invalidf("listing: Until %s is not after Since %s", l.Until.Format(time.RFC3339), l.Since.Format(time.RFC3339))
	case l.After == "":
		return l, Place{}, nil
	}
	after, ok := parseCursor(l.After)
	if !ok {
		return l, Place{}, invalidf("listing: After %q is not the Next of a page", l.After)
	}
	return l, after, nil
}

// Match reports whether the listing has e, wherever it begins: e is a root, has the status and the task, and was created
// in the listing's time.
func (l Listing) Match(e *Execution) bool {
	return e.Parent == nil && !e.Kept &&
		(l.Status == "" || l.Status == e.Status) && (l.TaskID == "" || l.TaskID == e.TaskID) &&
		!e.CreatedAt.Before(l.Since) && (l.Until.IsZero() || e.CreatedAt.Before(l.Until))
}

// Place is where an execution stands in every list. No two have the same, and none ever changes its own.
type Place struct {
	CreatedAt time.Time
	ID        string // empty in the zero Place, which is before all
}

// PlaceOf returns the place of an execution.
func PlaceOf(e *Execution) Place { return Place{e.CreatedAt, e.ID} }

// Compare returns a negative number when p comes before q, a positive one when it comes after.
func (p Place) Compare(q Place) int {
	if p.ID == "" || q.ID == "" {
		return cmp.Compare(min(len(p.ID), 1), min(len(q.ID), 1))
	}
	return cmp.Or(q.CreatedAt.Compare(p.CreatedAt), cmp.Compare(q.ID, p.ID))
}

// cursorVersion is the first byte of a cursor.
const cursorVersion = 1

// Cursor returns the After of the list behind p.
func (p Place) Cursor() string {
	b := binary.AppendVarint([]byte{cursorVersion}, p.CreatedAt.UnixMilli())
	return base64.RawURLEncoding.EncodeToString(append(b, p.ID...))
}

func parseCursor(text string) (Place, bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) == 0 || b[0] != cursorVersion {
		return Place{}, false
	}
	ms, n := binary.Varint(b[1:])
	if n <= 0 || len(b) == 1+n || max(ms, -ms) >= 1<<47 {
		return Place{}, false
	}
	return Place{time.UnixMilli(ms).UTC(), string(b[1+n:])}, true
}
