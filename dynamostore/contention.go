package dynamostore

import (
	"cmp"
	"context"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Executors that claim from one queue see the same entries, and a claim that another one has made is billed. An executor
// that loses one puts its id into the item of executors at work, and learns from the answer who else is; one that does
// not reads that item from time to time. Each entry then
// belongs to one of them: to the one for which it ranks highest, by a hash of its id and theirs (rendezvous hashing:
// D. Thaler, C. Ravishankar, "A name-based mapping scheme for rendezvous", 1996). The others leave it alone for a while,
// which depends on its rank for them, so that they do not all want it at once. An executor that knows nothing of others
// yet takes a few entries at random, and twice as many each time that goes well. All this is for claims that say that
// others may be at work (core.ReadyClaim.Shared); any other takes the oldest.

const (
	// mostSpread is the spread at first: of what it sees an executor takes one in so many. Of 16 that look at once each
	// then loses a fifth of its claims.
	mostSpread = 32
	// announceEvery is how often an executor tells that it is at work, and announceFor for how long that holds.
	announceEvery = 10 * time.Second
	announceFor   = 25 * time.Second
	// forgetAtOnce is how many that are gone one write removes: an update expression has at most 4 KB (AWS documentation,
	// "Service, account, and table quotas"), and what a write does not remove, the next ones do.
	forgetAtOnce = 50
	// meetWithin bounds what that takes of the time of claims that wait to be returned.
	meetWithin = 2 * time.Second
	// askEvery is how often an executor that loses claims looks who is at work.
	askEvery = time.Second
	// patience is how long an entry that belongs to somebody else is left alone once it was seen; morePatience is added
	// to it by rank.
	patience     = time.Second
	morePatience = 2 * time.Second
)

// contention is what a process knows of others that claim from the same queue.
type contention struct {
	mu        sync.Mutex
	spread    int                  // 0 at first
	rivals    map[string]time.Time // by executor id, this process's own included: until when they are at work
	gone      []string             // executors that are in the item and not at work any more
	announced time.Time
	asked     time.Time
}

// bounds returns the rivals of an executor, in order, and its spread.
func (c *contention) bounds(executor string, now time.Time) (rivals []string, spread int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := len(c.rivals) > 0
	maps.DeleteFunc(c.rivals, func(_ string, until time.Time) bool { return !until.After(now) })
	if c.spread == 0 || known && len(c.rivals) == 0 {
		c.spread = mostSpread
	}
	for _, id := range slices.Sorted(maps.Keys(c.rivals)) {
		if id != executor {
			rivals = append(rivals, id)
		}
	}
	return rivals, c.spread
}

// learn notes how some claims went. It reports whether it is time to tell the others, or to ask for them.
func (c *contention) learn(now time.Time, claimed, outrun int) (tell, ask bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case 5*outrun > claimed:
		c.spread = min(mostSpread, max(2, 2*c.spread))
	case claimed > 0:
		c.spread = max(1, c.spread/2)
	}
	switch {
	case claimed+outrun == 0:
	case (outrun > 0 || len(c.rivals) > 0) && now.Sub(c.announced) >= announceEvery:
		c.announced, c.asked = now, now
		return true, false
	case now.Sub(c.asked) >= announceEvery, outrun > 0 && now.Sub(c.asked) >= askEvery:
		c.asked = now
		return false, true
	}
	return false, false
}

// forgotten returns executors that are in the item and not at work any more.
func (c *contention) forgotten() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone
}

// met takes over what the item of executors says.
func (c *contention) met(executors item, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rivals, c.gone = map[string]time.Time{}, nil
	d := decoder{item: executors}
	for name := range executors {
		id, is := strings.CutPrefix(name, executorPrefix)
		if !is {
			continue
		}
		if until := time.UnixMilli(d.int64(name)); until.After(now) {
			c.rivals[id] = until
		} else {
			c.gone = append(c.gone, id)
		}
	}
	slices.Sort(c.gone)
}

// executorPrefix is that of the attributes of the executors' item: each has an executor's id behind it, and says until
// when that is at work, in ms.
const executorPrefix = "x."

// meet tells the others that an executor is at work, and learns of them. When it fails they get in each other's way for a
// while, no more.
//
//	input:     an executor, and until when it is taken to be at work
//	condition: it is not known to be for longer
//	outcome:   it is known; of those whose time was over when this process looked last, 50 are forgotten
func (s *Store) meet(ctx context.Context, executor string, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, meetWithin)
	defer cancel()
	x := s.meeting(executor, now)
	out, err := s.api.UpdateItem(ctx, x.input(s.table, primaryKey(settingsKey, sortExecutors), types.ReturnValueAllNew))
	if err != nil {
		s.opts.Logger.WarnContext(ctx, "executors do not know of each other", logError, explain(s.where, err))
		return
	}
	s.others.met(out.Attributes, now)
}

// meeting returns the change that meet makes.
func (s *Store) meeting(executor string, now time.Time) *expression {
	x := newExpression()
	until := number(now.Add(announceFor).UnixMilli())
	own := x.anyName(executorPrefix + executor)
	x.set = append(x.set, own+" = "+x.value(until))
	x.when = append(x.when, "attribute_not_exists("+own+") OR "+own+" < "+x.value(until))
	gone := s.others.forgotten()
	for _, id := range gone[:min(forgetAtOnce, len(gone))] {
		if id != executor {
			x.remove = append(x.remove, x.anyName(executorPrefix+id))
		}
	}
	return x
}

// askForOthers reads who is at work.
func (s *Store) askForOthers(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, meetWithin)
	defer cancel()
	out, err := s.api.GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String(s.table), Key: primaryKey(settingsKey, sortExecutors)})
	if err != nil {
		s.opts.Logger.WarnContext(ctx, "executors do not know of each other", logError, explain(s.where, err))
		return
	}
	s.others.met(out.Item, now)
}

// choose returns those of the due entries, which are sorted by due time, that an executor takes next, and when the first
// of those may be taken that it leaves to others for now. Its own come first; with none of these left it takes its share
// of what others have left, once.
func (s *Store) choose(l look, found []entry) (chosen []entry, last bool, held time.Time) {
	if l.spread <= 1 && len(l.rivals) == 0 {
		return found[:min(l.limit, len(found))], false, held
	}
	own, left, held := s.own(l, found)
	spread := max(1, l.spread)
	if len(own) == 0 {
		own, last, spread = left, true, max(spread, 1+len(l.rivals))
	}
	share := min(l.limit, (len(own)+spread-1)/spread)
	if spread > 1 {
		slices.SortFunc(own, func(a, b entry) int { return cmp.Compare(rank(l.executor, b.id), rank(l.executor, a.id)) })
	}
	chosen = own[:share]
	slices.SortFunc(chosen, compareEntries)
	return chosen, last, held
}

// own returns the entries that belong to the executor, those that their owners have left for long enough, and when the
// first of the others will be such.
func (s *Store) own(l look, found []entry) (own, left []entry, held time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := make(map[entry]time.Time, len(found))
	for _, e := range found {
		mine := rank(l.executor, e.id)
		if !slices.ContainsFunc(l.rivals, func(rival string) bool { return rank(rival, e.id) > mine }) {
			own = append(own, e)
			continue
		}
		since, known := s.left[e]
		if !known {
			since = l.now
		}
		seen[e] = since
		if free := since.Add(patience + time.Duration((1-mine)*float64(morePatience))); !free.After(l.now) {
			left = append(left, e)
		} else if held.IsZero() || free.Before(held) {
			held = free
		}
	}
	s.left = seen
	return own, left, held
}

// rank returns a number from 0 to 1 that an id has for an executor.
func rank(executor, id string) float64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(executor))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(id))
	mixed := h.Sum64() * 0x9e3779b97f4a7c15 // FNV's high bits hardly depend on the last bytes
	return float64(mixed>>11) / (1 << 53)
}
