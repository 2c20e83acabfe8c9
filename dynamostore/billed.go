package dynamostore

import "github.com/perdure-dev/perdure/core"

// indexKeys are the keys of the table's indexes. An item that has both of an index's keys has an entry in it.
var indexKeys = [...][2]string{{indexQueue, indexDueAt}, {indexCancel, indexExecutor}, {indexList, indexListAt}}

// claimUnits is what a claim is billed at that has not read the item: a record stays within one unit, and the keys of
// its entry change.
const claimUnits = 3

// putUnits returns the write units that a new item is billed at: one for each started KB, and one for each index entry,
// all of which are smaller than that (AWS documentation, "Using Global Secondary Indexes in DynamoDB", write capacity
// units).
func putUnits(it item) int { return updateUnits(nil, it) }

// updateUnits returns the write units that a change of an item is billed at: one for each started KB of the larger
// of the two, one for each index entry that comes or goes, two for one whose keys change.
func updateUnits(before, after item) int {
	n := units(max(itemSize(before), itemSize(after)))
	for _, keys := range indexKeys {
		switch old, now := hasKeys(before, keys), hasKeys(after, keys); {
		case old != now:
			n++
		case old && (!sameValue(before[keys[0]], after[keys[0]]) || !sameValue(before[keys[1]], after[keys[1]])):
			n += 2
		}
	}
	return n
}

func hasKeys(it item, keys [2]string) bool { return it[keys[0]] != nil && it[keys[1]] != nil }

// partUnits returns the write units that putting the parts of a record is billed at.
func (s *Store) partUnits(e *core.Execution, parts []part) int {
	n := 0
	for _, p := range parts {
		n += putUnits(s.partItem(e, p))
	}
	return n
}

// unitsOf returns what an item says that its record's writes were billed at.
func unitsOf(it item) int {
	d := decoder{item: it}
	return d.int(aUnits)
}
