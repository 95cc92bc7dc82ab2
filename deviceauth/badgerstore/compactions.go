package badgerstore

import (
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"
)

// Badger takes a merge for done though a table of it could not be made, and drops the
// old ones. No trial of a file can be so late that nothing fails behind it. So tables
// have a second name before others are made of them, under which they stay. Badger says
// how many keys it puts into each new table: where one with so many has not come, the
// old ones stay until what they had is written back.
//
// Badger cuts a file before it removes it, whatever names it has, but no table that an
// iterator may read. So one is open meanwhile. It makes none without a memtable: then, and
// where files have no second names, tables are copied.
//
// Where Badger takes the lock, what is in the directory may be another process's, and
// nothing is kept.

// merges watches those of a database, from when it is opened until it is closed.
type merges struct {
	dir   string
	room  *space
	links bool   // files can have a second name here
	log   logger // without merges
	lost  func() // is told that a merge has left something out

	begun chan struct{} // closed when db is there, or never will be
	begin sync.Once

	mu    sync.Mutex
	db    *badger.DB      // nil: it did not open
	under map[int]*merge  // under way, by the number that Badger gives who merges
	taken map[uint64]bool // tables that a merge has made, while others are under way
	done  []*merge        // merges that seem whole, while others are under way

	ready  *moment
	last   *hold // of the merges while it is closed
	closes bool
	lacks  bool // what a merge left out
}

// A merge is one that is under way.
type merge struct {
	before tables
	makes  []uint32 // how many keys are in each table that it makes
	kept   string   // where the tables that were there are kept
	hold   *hold
}

// tables are those of a database at some moment, with how many keys each has.
type tables map[uint64]uint32

// tablesOf returns the tables that a database has now.
func tablesOf(db *badger.DB) tables {
	now := tables{}
	for _, about := range db.Tables() {
		now[about.ID] = about.KeyCount
	}
	return now
}

// newest is the highest number of a table; Badger numbers them as it makes them.
func (t tables) newest() (id uint64) {
	for one := range t {
		id = max(id, one)
	}
	return id
}

// newMerges watches a database that is about to be opened: its merges begin before Open
// returns, and wait for start.
func newMerges(s *Store) *merges {
	return &merges{
		dir: s.dir, room: s.room, links: s.links, log: s.log, lost: s.mergeLeftOut,
		begun: make(chan struct{}),
		under: map[int]*merge{}, taken: map[uint64]bool{},
	}
}

// start is told of the database as soon as it is open; nil: it does not open.
func (m *merges) start(db *badger.DB) {
	m.begin.Do(func() {
		if m.db = db; db != nil {
			m.renew()
		}
		close(m.begun)
	})
}

// leftOut tells whether a merge has left something out.
func (m *merges) leftOut() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lacks
}

// waits tells the log why a merge is held up.
func (m *merges) waits(why error) {
	m.log.log(slog.LevelWarn, "a merge of tables waits: %v", []any{why})
}

// makes is called before a table with so many keys is made, and where there is none to make.
// It holds the merge up until a file can be made, and the tables that are there have their
// second names.
func (m *merges) makes(who int, keys uint64) {
	for first := true; ; first = false {
		m.room.waitForTable(m.waits)
		<-m.begun
		err := m.keep(who, uint32(keys))
		if err == nil {
			return
		}
		if first {
			m.waits(err)
		}
		time.Sleep(mergeEvery)
	}
}

// keep keeps the tables that there are, once a merge, and notes the table that it is about
// to make.
func (m *merges) keep(who int, keys uint32) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.db == nil || !ownLock || keys == 0 { // Badger makes no empty ones
		return nil
	}
	now := m.under[who]
	if now == nil {
		var err error
		if now, err = m.keepAll(); err != nil {
			return err
		}
		m.under[who] = now
	}
	now.makes = append(now.makes, keys)
	return nil
}

// keepAll begins to watch a merge. A table that Badger may cut is copied, which takes
// longer and needs room.
func (m *merges) keepAll() (*merge, error) {
	one, keep := &merge{before: tablesOf(m.db), hold: m.hold()}, os.Link
	if one.hold == nil || !m.links {
		keep = copied
	}
	var err error
	if one.kept, err = keepTables(m.dir, one.before, keep); err != nil {
		m.release(one.hold)
		return nil, err
	}
	return one, nil
}

// made is called before a merge can be done, when its tables are being made. Where no
// file can be made any more it holds the merge up: what the old tables hold can be read
// until what was left out can be written back at once.
func (m *merges) made() {
	<-m.begun
	for wait := time.Millisecond; wait < time.Second; wait *= 2 {
		if m.room.makesTables() != nil {
			m.room.waitForTable(m.waits)
			return
		}
		if m.come() {
			return
		}
		time.Sleep(wait)
	}
}

// come tells whether so many files have come as there are tables under way. It may
// count one that is of another table: what over says does not rest on it.
func (m *merges) come() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.under) == 0 {
		return true
	}
	want, oldest := 0, ^uint64(0)
	for _, one := range m.under {
		want += len(one.makes)
		oldest = min(oldest, one.before.newest())
	}
	now := tablesOf(m.db)
	files, err := os.ReadDir(m.dir)
	for _, file := range files {
		id, ok := table.ParseFileID(file.Name())
		if _, known := now[id]; ok && !known && id > oldest {
			want--
		}
	}
	return err != nil || want <= 0
}

// over is called when a merge is done, or has failed.
func (m *merges) over(who int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	done := m.under[who]
	if done == nil {
		return
	}
	delete(m.under, who)
	m.done = append(m.done, done)
	if now := tablesOf(m.db); done.dropped(now) && !m.whole(done, now) {
		m.lacks = true // and the holds stay: the files are cut without them
		m.lost()
	}
	if len(m.under) == 0 && !m.lacks {
		m.drop()
	}
}

// drop is called when all merges are over, for one may have taken the table of another
// that has as many keys for its own. What cannot be dropped is after the next merge: it
// must not be read when what is deleted later has gone for good.
func (m *merges) drop() {
	var left []*merge
	for _, one := range m.done {
		if err := dropTables(one.kept); err != nil {
			m.log.log(slog.LevelWarn, "tables in %s that were merged stay there for now: %v", []any{m.dir, err})
			left = append(left, one)
			continue
		}
		m.release(one.hold)
	}
	m.done = left
	clear(m.taken)
}

// dropped reports whether Badger has dropped a table that was there when the merge began:
// it does so only of merges that it takes for done.
func (one *merge) dropped(now tables) bool {
	for id := range one.before {
		if _, there := now[id]; !there {
			return true
		}
	}
	return false
}

// whole tells whether each table that a merge makes is there.
func (m *merges) whole(one *merge, now tables) bool {
	newest := one.before.newest()
	for _, keys := range one.makes {
		if !m.take(now, newest, keys) {
			return false
		}
	}
	return true
}

// take finds a new table with so many keys that no other merge has made.
func (m *merges) take(now tables, newest uint64, keys uint32) bool {
	for id, has := range now {
		if has == keys && id > newest && !m.taken[id] {
			m.taken[id] = true
			return true
		}
	}
	return false
}
