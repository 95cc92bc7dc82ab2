package badgerdb

import (
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"
)

// When a compaction cannot create one of its new tables, Badger takes the compaction for
// successful all the same and drops the old tables. No check can be so late that creating a
// file cannot fail after it. So before a compaction creates tables, the tables that exist
// get a hard link in another directory, where they survive. Badger logs how many keys it
// puts into each new table. If a table with that number of keys does not appear, the old
// tables are kept until their entries have been written back.
//
// Badger truncates a table's file before it removes it, however many links the file has,
// unless an iterator may still read the table. So an iterator is held open during a
// compaction, see [hold]. Without a memtable Badger opens no iterator: then the tables are
// copied, and so they are on file systems without hard links.
//
// If the directory's lock is Badger's own (see ownLock), the files in the directory may
// belong to another process, and nothing is kept.

// compactions watches the compactions of one database, from before it is opened until it is
// closed.
type compactions struct {
	dir          string
	room         *space
	links        bool   // dir's file system has hard links
	log          logger // without its compactions
	onIncomplete func() // called when a compaction has not created all of its tables

	dbReady   chan struct{} // closed when db is set, or Badger has failed to open it
	startOnce sync.Once

	mu       sync.Mutex
	db       *badger.DB          // nil: Badger failed to open it
	running  map[int]*compaction // by the id of Badger's compactor
	claimed  map[uint64]bool     // new tables already attributed to a compaction in finished
	finished []*compaction       // seemingly complete, while others are running

	current    *snapshot
	lastHold   *hold // of all compactions from prepareClose on
	closing    bool
	incomplete bool // a compaction has lost entries
}

// A compaction is the state of one that is running.
type compaction struct {
	before  tableSet
	outputs []uint32 // the key count of each table that it creates
	kept    string   // the directory in which the tables of before are kept
	hold    *hold
}

// A tableSet is the tables of a database at one time: the key count of each, by its id.
type tableSet map[uint64]uint32

// currentTables returns the tables that a database has now.
func currentTables(db *badger.DB) tableSet {
	now := tableSet{}
	for _, info := range db.Tables() {
		now[info.ID] = info.KeyCount
	}
	return now
}

// maxID returns the highest id. Badger numbers tables in the order of their creation.
func (t tableSet) maxID() (id uint64) {
	for one := range t {
		id = max(id, one)
	}
	return id
}

// newCompactions returns the watcher of a database that is about to be opened. Badger
// starts compactions before Open returns: they wait for start.
func newCompactions(d *DB) *compactions {
	return &compactions{
		dir: d.o.Dir, room: d.room, links: d.links, log: d.log, onIncomplete: d.onIncompleteCompaction,
		dbReady: make(chan struct{}),
		running: map[int]*compaction{}, claimed: map[uint64]bool{},
	}
}

// start is called with the database as soon as it is open, or with nil if opening it
// failed.
func (cs *compactions) start(db *badger.DB) {
	cs.startOnce.Do(func() {
		if cs.db = db; db != nil {
			cs.renewSnapshot()
		}
		close(cs.dbReady)
	})
}

// hasIncomplete reports whether a compaction has lost entries.
func (cs *compactions) hasIncomplete() bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.incomplete
}

// logWait logs why a compaction has to wait.
func (cs *compactions) logWait(why error) {
	cs.log.log(slog.LevelWarn, "a compaction waits: %v", why)
}

// beforeTable is called before Badger creates a table with that many keys; keys is 0 if
// there is no table to create. It blocks the compaction until a file can be created and the
// existing tables are kept.
func (cs *compactions) beforeTable(compactor int, keys uint64) {
	for first := true; ; first = false {
		cs.room.waitForTable(cs.logWait)
		<-cs.dbReady
		err := cs.expectTable(compactor, uint32(keys))
		if err == nil {
			return
		}
		if first {
			cs.logWait(err)
		}
		time.Sleep(compactionRetry)
	}
}

// expectTable keeps the existing tables at the first call for a compaction, and records
// that a table with that many keys is about to be created.
func (cs *compactions) expectTable(compactor int, keys uint32) error {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.db == nil || !ownLock || keys == 0 { // Badger creates no empty tables
		return nil
	}
	c := cs.running[compactor]
	if c == nil {
		var err error
		if c, err = cs.begin(); err != nil {
			return err
		}
		cs.running[compactor] = c
	}
	c.outputs = append(c.outputs, keys)
	return nil
}

// begin starts to watch a compaction and keeps the existing tables. Tables that Badger may
// truncate are copied, which takes longer and needs space.
func (cs *compactions) begin() (*compaction, error) {
	c, keep := &compaction{before: currentTables(cs.db), hold: cs.takeHold()}, os.Link
	if c.hold == nil || !cs.links {
		keep = copyFile
	}
	var err error
	if c.kept, err = keepTables(cs.dir, c.before, keep); err != nil {
		cs.releaseHold(c.hold)
		return nil, err
	}
	return c, nil
}

// waitForTables is called while a compaction creates its tables, before it can end. If no
// file can be created any more, it blocks the compaction: the old tables stay readable
// until what the compaction left out can be written back at once.
func (cs *compactions) waitForTables() {
	<-cs.dbReady
	for wait := time.Millisecond; wait < time.Second; wait *= 2 {
		if cs.room.canMakeTables() != nil {
			cs.room.waitForTable(cs.logWait)
			return
		}
		if cs.tablesCreated() {
			return
		}
		time.Sleep(wait)
	}
}

// tablesCreated reports whether as many new table files exist as running compactions
// create. It may count the file of another table: finish does not rely on it.
func (cs *compactions) tablesCreated() bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if len(cs.running) == 0 {
		return true
	}
	want, oldest := 0, ^uint64(0)
	for _, c := range cs.running {
		want += len(c.outputs)
		oldest = min(oldest, c.before.maxID())
	}
	now := currentTables(cs.db)
	files, err := os.ReadDir(cs.dir)
	for _, file := range files {
		id, ok := table.ParseFileID(file.Name())
		if _, known := now[id]; ok && !known && id > oldest {
			want--
		}
	}
	return err != nil || want <= 0
}

// finish is called when a compaction has succeeded or failed.
func (cs *compactions) finish(compactor int) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c := cs.running[compactor]
	if c == nil {
		return
	}
	delete(cs.running, compactor)
	cs.finished = append(cs.finished, c)
	if now := currentTables(cs.db); c.removedTables(now) && !cs.complete(c, now) {
		cs.incomplete = true // the holds stay: without them Badger would truncate the files
		cs.onIncomplete()
	}
	if len(cs.running) == 0 && !cs.incomplete {
		cs.dropKept()
	}
}

// dropKept removes the kept tables. It is called when no compaction is running any more,
// because a compaction may have claimed a table with the same key count that another one
// created. What cannot be removed now is removed after the next compaction: it must not be
// read after tombstones that are newer have been compacted away.
func (cs *compactions) dropKept() {
	var left []*compaction
	for _, c := range cs.finished {
		if err := removeKept(c.kept); err != nil {
			cs.log.log(slog.LevelWarn, "tables in %s that were compacted stay there for now: %v", cs.dir, err)
			left = append(left, c)
			continue
		}
		cs.releaseHold(c.hold)
	}
	cs.finished = left
	clear(cs.claimed)
}

// removedTables reports whether Badger has removed a table that existed when the compaction
// began. It removes tables only if it takes the compaction for successful.
func (c *compaction) removedTables(now tableSet) bool {
	for id := range c.before {
		if _, there := now[id]; !there {
			return true
		}
	}
	return false
}

// complete reports whether every table that a compaction was to create exists.
func (cs *compactions) complete(c *compaction, now tableSet) bool {
	newest := c.before.maxID()
	for _, keys := range c.outputs {
		if !cs.claim(now, newest, keys) {
			return false
		}
	}
	return true
}

// claim finds a new table with that many keys that no other compaction has claimed.
func (cs *compactions) claim(now tableSet, newest uint64, keys uint32) bool {
	for id, has := range now {
		if has == keys && id > newest && !cs.claimed[id] {
			cs.claimed[id] = true
			return true
		}
	}
	return false
}
