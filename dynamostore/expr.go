package dynamostore

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/perdure-dev/perdure/core"
)

// expression builds an UpdateItem. Every name goes through a placeholder, since some are reserved words.
type expression struct {
	names  map[string]string
	values item
	set    []string
	remove []string
	add    []string
	when   []string
}

func newExpression() *expression { return &expression{names: map[string]string{}, values: item{}} }

// name returns the placeholder of an attribute.
func (x *expression) name(attribute string) string {
	placeholder := "#" + attribute
	x.names[placeholder] = attribute
	return placeholder
}

// anyName is name for an attribute whose name may have any characters.
func (x *expression) anyName(attribute string) string {
	placeholder := "#" + strconv.Itoa(len(x.names))
	x.names[placeholder] = attribute
	return placeholder
}

// value returns the placeholder of a value.
func (x *expression) value(v types.AttributeValue) string {
	placeholder := ":" + strconv.Itoa(len(x.values))
	x.values[placeholder] = v
	return placeholder
}

func (x *expression) assign(attribute string, v types.AttributeValue) {
	x.set = append(x.set, x.name(attribute)+" = "+x.value(v))
}

// input returns the UpdateItem on one item. When its condition fails the error carries the item as it is.
func (x *expression) input(table string, key item, back types.ReturnValue) *dynamodb.UpdateItemInput {
	var clauses []string
	for _, c := range []struct {
		verb  string
		parts []string
	}{{"SET ", x.set}, {"REMOVE ", x.remove}, {"ADD ", x.add}} {
		if len(c.parts) > 0 {
			clauses = append(clauses, c.verb+strings.Join(c.parts, ", "))
		}
	}
	return &dynamodb.UpdateItemInput{
		TableName: aws.String(table), Key: key,
		UpdateExpression:                    aws.String(strings.Join(clauses, " ")),
		ConditionExpression:                 aws.String(strings.Join(x.when, " AND ")),
		ExpressionAttributeNames:            x.names,
		ExpressionAttributeValues:           x.values,
		ReturnValues:                        back,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
}

// difference is the write primitive.
//
//	input:     the items before and after a transition
//	condition: the stored revision is before's; where the counted set grows, it has before's size as well,
//	           since plain unions do not raise the revision
//	outcome:   the attributes that differ are as after has them; the counted set has after's units added
func difference(before, after item, oldCounted, newCounted []int) *expression {
	x := newExpression()
	assigned, removed := changes(before, after)
	for _, name := range assigned {
		x.assign(name, after[name])
	}
	for _, name := range removed {
		x.remove = append(x.remove, x.name(name))
	}
	x.when = append(x.when, x.name(aRev)+" = "+x.value(before[aRev]))
	added := slices.DeleteFunc(slices.Clone(newCounted), func(unit int) bool { return slices.Contains(oldCounted, unit) })
	if len(added) > 0 {
		x.add = append(x.add, x.name(aCounted)+" "+x.value(numbers(added)))
		if len(oldCounted) == 0 {
			x.when = append(x.when, fmt.Sprintf("attribute_not_exists(%s)", x.name(aCounted)))
		} else {
			x.when = append(x.when, fmt.Sprintf("size(%s) = %s", x.name(aCounted), x.value(number(int64(len(oldCounted))))))
		}
	}
	return x
}

// changes returns the names of the attributes that a transition sets and removes, without those that are added to.
func changes(before, after item) (assigned, removed []string) {
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if name != aCounted && name != aUnits && !sameValue(before[name], after[name]) {
			assigned = append(assigned, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, kept := after[name]; !kept && name != aCounted && name != aUnits {
			removed = append(removed, name)
		}
	}
	return assigned, removed
}

// bill adds units to those that the record's writes were billed at.
func (x *expression) bill(units int) {
	x.add = append(x.add, x.name(aUnits)+" "+x.value(number(int64(units))))
}

func sameValue(a, b types.AttributeValue) bool {
	switch a := a.(type) {
	case *types.AttributeValueMemberS:
		b, ok := b.(*types.AttributeValueMemberS)
		return ok && a.Value == b.Value
	case *types.AttributeValueMemberN:
		b, ok := b.(*types.AttributeValueMemberN)
		return ok && a.Value == b.Value
	case *types.AttributeValueMemberB:
		b, ok := b.(*types.AttributeValueMemberB)
		return ok && string(a.Value) == string(b.Value)
	case *types.AttributeValueMemberBOOL:
		b, ok := b.(*types.AttributeValueMemberBOOL)
		return ok && a.Value == b.Value
	}
	return false
}

// knownVersion is the condition of a write that has not read the item.
func (*Store) knownVersion(x *expression) string {
	return x.name(aVersion) + " <= " + x.value(number(schemaVersion))
}

// claimReady starts an attempt without having read the execution.
//
//	input:     an id, the executor, now, the time left, the leeway, how many recoveries are too many
//	condition: the entry is in queue ready and due, the task's timeout fits the time left, it has fewer recoveries, and the
//	           item's schema version is known
//	outcome:   what core.StartAttempt makes of it
func (s *Store) claimReady(id string, c core.ReadyClaim, nonce string) *dynamodb.UpdateItemInput {
	x := newExpression()
	shard := shardOf(id, s.opts.Shards)
	at := core.Millis(c.Now)
	now := number(at.UnixMilli())
	one := x.value(number(1))
	end := x.name(aTimeout) + " + " + x.value(number(at.Add(c.Leeway).UnixMilli()))
	x.assign(aStatus, text(string(core.StatusRunning)))
	x.assign(indexExecutor, text(c.ExecutorID))
	x.set = append(x.set,
		fmt.Sprintf("%[1]s = if_not_exists(%[1]s, %[2]s) + %[3]s", x.name(aAttempts), x.value(number(0)), one),
		fmt.Sprintf("%[1]s = %[1]s + %[2]s", x.name(aRev), one),
		x.name(aExpires)+" = "+end,
		x.name(indexDueAt)+" = "+end)
	x.assign(aStarted, now)
	x.assign(aUpdated, now)
	x.assign(aNonce, text(nonce))
	x.assign(indexQueue, text(queueKey(core.QueueRunning, shard)))
	x.bill(claimUnits)
	x.when = append(x.when,
		fmt.Sprintf("begins_with(%s, %s)", x.name(indexQueue), x.value(text(string(core.QueueReady)+"#"))),
		fmt.Sprintf("%s <= %s", x.name(indexDueAt), x.value(now)),
		fmt.Sprintf("%s <= %s", x.name(aTimeout), x.value(number(c.Left.Milliseconds()))),
		s.knownVersion(x))
	if c.RecoveredBelow > 0 {
		x.when = append(x.when, fmt.Sprintf("(attribute_not_exists(%[1]s) OR %[1]s < %[2]s)",
			x.name(aRecoveries), x.value(number(int64(c.RecoveredBelow)))))
	}
	return x.input(s.table, primaryKey(id, sortExecution), types.ReturnValueAllNew)
}

// countUnits adds units to the counted set of a waiting parent.
//
//	input:     the parent's id, units, the family's size
//	condition: the parent waits for children that are as many and run at once, the union cannot complete the set, and the
//	           item's schema version is known
//	outcome:   the units are in the set; the revision is as it was
func (s *Store) countUnits(parentID string, units []int, size int) *dynamodb.UpdateItemInput {
	x := newExpression()
	x.add = append(x.add, x.name(aCounted)+" "+x.value(numbers(units)))
	x.bill(1)
	x.when = append(x.when,
		x.name(aStatus)+" = "+x.value(text(string(core.StatusWaitingForChildren))),
		fmt.Sprintf("(attribute_not_exists(%[1]s) OR size(%[1]s) < %[2]s)", x.name(aCounted), x.value(number(int64(core.Units(size)-len(units))))),
		fmt.Sprintf("%s = %s AND attribute_not_exists(%s)", x.name(aSize), x.value(number(int64(size))), x.name(aSequence)),
		s.knownVersion(x))
	return x.input(s.table, primaryKey(parentID, sortExecution), types.ReturnValueAllNew)
}

// countBucket adds children to a bucket of a large family.
//
//	input:     the parent's id, a bucket's key and size, the indexes of children in it, when it may be deleted
//	condition: the bucket is not whole, or does not exist
//	outcome:   the indexes are in the bucket's set
func (s *Store) countBucket(parentID, bucket string, indexes []int, size int, end int64) *dynamodb.UpdateItemInput {
	x := newExpression()
	x.add = append(x.add, x.name(aCounted)+" "+x.value(numbers(indexes)))
	if end > 0 {
		x.assign(attributeTTL, number(end))
	}
	x.when = append(x.when, fmt.Sprintf("(attribute_not_exists(%[1]s) OR size(%[1]s) < %[2]s)", x.name(aCounted), x.value(number(int64(size)))))
	return x.input(s.table, primaryKey(parentID, bucket), types.ReturnValueAllNew)
}
