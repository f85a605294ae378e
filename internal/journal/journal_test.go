package journal_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/journal"
	"github.com/longline/longline/internal/journal/journaltest"
)

func open(t *testing.T, o journal.Options) *journal.Journal {
	t.Helper()
	j, _, err := journal.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// add appends a record, and does not wait.
func add(t *testing.T, j *journal.Journal, record []byte, done func(error)) {
	t.Helper()
	if _, err := j.Append(record, done); err != nil {
		t.Fatal(err)
	}
}

// fence commits, and does not wait.
func fence(t *testing.T, j *journal.Journal, done func(error)) {
	t.Helper()
	if err := j.Commit(done); err != nil {
		t.Fatal(err)
	}
}

// appendAll appends texts, and returns when they are safe.
func appendAll(t *testing.T, j *journal.Journal, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if _, err := j.Append([]byte(text), nil); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, j)
}

func TestKeptOverARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	j := open(t, small(journal.Dir(dir)))
	for n := range 50 {
		appendAll(t, j, fmt.Sprintf("record %d %0200d", n, n))
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j, rec, err := journal.Open(small(journal.Dir(dir)))
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if rec.First != 1 || rec.End != 51 || rec.Cut != nil || rec.Lost != nil {
		t.Errorf("recovery: %+v", rec)
	}
	found, gaps := read(t, j, 0)
	if len(found) != 50 || gaps != nil || !strings.HasPrefix(found[50], "record 49 ") {
		t.Errorf("%d records, gaps %v, last %q", len(found), gaps, found[50])
	}
}

func TestOneProcessADirectory(t *testing.T) {
	dir := t.TempDir()
	j := open(t, small(journal.Dir(dir)))
	_, _, err := journal.Open(small(journal.Dir(dir)))
	if want := fmt.Sprintf("in use by process %d", os.Getpid()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the second is told %v, not %q", err, want)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, small(journal.Dir(dir))).Close(); err != nil {
		t.Fatal(err)
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := journaltest.New()
		open(t, small(d)).Close()
		content := d.Content("00000001.segment")
		journal.SetVersion(content, 9)
		d.Put("00000001.segment", content)
		_, _, err := journal.Open(small(d))
		if err == nil || !strings.Contains(err.Error(), "format version 9") {
			t.Errorf("opened: %v", err)
		}
	})
}

func TestReaderAtTheEndIsWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := open(t, small(journaltest.New()))
		read := make(chan string)
		go func() {
			defer close(read)
			r := j.Reader(0)
			for {
				rec, err := r.Next(context.Background())
				if err != nil {
					read <- err.Error()
					return
				}
				read <- fmt.Sprintf("%d %s", rec.Place, rec.Data)
			}
		}()
		synctest.Wait() // it waits
		for n, text := range []string{"a", "b"} {
			appendAll(t, j, text)
			if got, want := <-read, fmt.Sprintf("%d %s", n+1, text); got != want {
				t.Errorf("read %q, not %q", got, want)
			}
			synctest.Wait()
		}
		j.Close()
		if got := <-read; got != journal.ErrClosed.Error() {
			t.Errorf("the end: %s", got)
		}
	})
}

func TestReaderHonoursItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := open(t, small(journaltest.New()))
		defer j.Close()
		appendAll(t, j, "a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r := j.Reader(2)
		if _, err := r.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("waited: %v", err)
		}
		appendAll(t, j, "b")
		if rec, err := r.Next(ctx); err != nil || string(rec.Data) != "b" {
			t.Errorf("what is there: %q, %v", rec.Data, err)
		}
	})
}

// TestReadersBesideTrimming has readers follow a journal whose segments are trimmed and reused while they
// read: what they get is right and in order, or reported as trimmed.
func TestReadersBesideTrimming(t *testing.T) {
	j := open(t, small(journal.Dir(t.TempDir())))
	const records = 3000
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var readers sync.WaitGroup
	for n := range 4 {
		readers.Go(func() {
			r := j.Reader(1)
			for next := journal.Place(1); next <= records; {
				rec, err := r.Next(ctx)
				gap := new(journal.Gap)
				switch {
				case errors.As(err, &gap) && gap.Trimmed && gap.From == next:
					next = gap.To
				case err != nil:
					t.Errorf("reader %d at %d: %v", n, next, err)
					return
				case rec.Place != next || binary.LittleEndian.Uint64(rec.Data) != uint64(next):
					t.Errorf("reader %d: place %d at %d", n, rec.Place, next)
					return
				default:
					next++
				}
			}
		})
	}
	for n := range records {
		record := make([]byte, 8+n%300)
		binary.LittleEndian.PutUint64(record, uint64(n+1))
		if _, err := j.Append(record, nil); err != nil {
			wait(t, j)
			if _, err = j.Append(record, nil); err != nil {
				t.Fatal(err)
			}
		}
		if n%10 == 0 {
			j.Trim(j.End())
		}
	}
	readers.Wait()
	if s := j.Stats(); s.Segments+s.Trimmed > 40 {
		t.Errorf("%d segments, %d trimmed: files are not used again", s.Segments, s.Trimmed)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// meddler is a disk that calls a function before it reads.
type meddler struct {
	journal.FS
	meddle func()
}

func (m *meddler) Create(name string) (journal.File, error) {
	f, err := m.FS.Create(name)
	return meddled{f, m}, err
}

type meddled struct {
	journal.File
	m *meddler
}

func (f meddled) ReadAt(p []byte, at int64) (int, error) {
	if meddle := f.m.meddle; meddle != nil {
		f.m.meddle = nil
		meddle()
	}
	return f.File.ReadAt(p, at)
}

// TestFileUsedAgainWhileItIsRead trims a segment and fills its file with other records between the moment
// at which a reader decides to read it and the read.
func TestFileUsedAgainWhileItIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &meddler{FS: journaltest.New()}
		j := open(t, small(m))
		defer j.Close()
		for n := range 6 {
			appendAll(t, j, fmt.Sprintf("%d %0900d", n+1, 0))
		}
		m.meddle = func() {
			for n := range 30 {
				j.Trim(j.End())
				synctest.Wait()
				appendAll(t, j, fmt.Sprintf("%d %0900d", n+7, 0))
			}
		}
		_, err := j.Reader(1).Next(ended)
		if gap := new(journal.Gap); !errors.As(err, &gap) || !gap.Trimmed || gap.From != 1 {
			t.Errorf("read: %v", err)
		}
	})
}

// TestTornSegmentProvesTheOneBefore cuts the power while the first group of a segment is written; the last
// group before it, in another segment, was safe, and is spoilt since.
func TestTornSegmentProvesTheOneBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := journaltest.New()
		j := open(t, small(d))
		for n := range 4 { // three to a segment
			appendAll(t, j, fmt.Sprintf("%d %0800d", n+1, 0))
		}
		synctest.Wait()
		d = d.Copy()
		j.Close()
		d.Flip("00000002.segment", 512+100, 0)              // the fourth
		d.Spoil("00000001.segment", 512+2*1024, 1024, 0x0F) // the third
		j, rec, err := journal.Open(small(d))
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		if fmt.Sprint(rec.Lost) != fmt.Sprint([]journal.Gap{{From: 3, To: 4}}) || rec.Cut == nil || rec.Cut.From != 4 {
			t.Errorf("%+v", rec)
		}
		appendAll(t, j, "goes on")
		found, gaps := read(t, j, 1)
		if len(found) != 3 || found[4] != "goes on" || len(gaps) != 1 || gaps[0] != rec.Lost[0] {
			t.Errorf("found %d, gaps %v", len(found), gaps)
		}
	})
}

// TestRestOfAFirstGroup cuts the power while a segment's first group is written, of which only the middle
// reached the disk: nothing was safe.
func TestRestOfAFirstGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := journaltest.New()
		j := open(t, small(d))
		appendAll(t, j, "a")
		synctest.Wait()
		d = d.Copy()
		j.Close()
		d.Spoil("00000002.segment", 1024, 512, 'x')
		j, rec, err := journal.Open(small(d))
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		if rec.Lost != nil || rec.SetAside != nil || rec.End != 2 {
			t.Errorf("%+v", rec)
		}
	})
}

// slow is a disk on which the syncs of the first file wait for the test.
type slow struct {
	journal.FS
	sync chan struct{}
}

func (s slow) Open(name string) (journal.File, error) {
	f, err := s.FS.Open(name)
	if err != nil || name != "00000001.segment" {
		return f, err
	}
	return slowFile{f, s.sync}, nil
}

type slowFile struct {
	journal.File
	sync chan struct{}
}

func (f slowFile) Sync() error {
	<-f.sync
	return f.File.Sync()
}

func TestPublishersWaitForASlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := journaltest.New()
		j := open(t, small(d))
		appendAll(t, j, "x")
		j.Close()
		disk := slow{d, make(chan struct{}, 1)}
		disk.sync <- struct{}{} // Open's
		rooms := 0
		o := small(disk)
		o.OnRoom = func() { rooms++ }
		j = open(t, o)
		var told []int
		n := 0
		fill := func() (err error) {
			for err == nil {
				i := n
				if _, err = j.Append(make([]byte, 92), func(error) { told = append(told, i) }); err == nil {
					n++
				}
			}
			synctest.Wait()
			return err
		}
		add(t, j, nil, nil)
		synctest.Wait() // it is under way
		if err := fill(); !errors.Is(err, journal.ErrFull) || n != 10 {
			t.Fatalf("after %d records of 100 bytes: %v", n, err)
		}
		if s := j.Stats(); s.Pending != 1000 || rooms != 0 || len(told) != 0 {
			t.Errorf("%d bytes wait, %d times room, %d told", s.Pending, rooms, len(told))
		}
		time.Sleep(3 * time.Second)
		if s := j.Stats().Syncing; s != 3*time.Second {
			t.Errorf("the disk has been syncing for %v", s)
		}
		disk.sync <- struct{}{}
		synctest.Wait()
		if rooms != 1 {
			t.Errorf("told %d times that there is room", rooms)
		}
		if len(told) != 0 {
			t.Errorf("%v are told before their sync", told)
		}
		close(disk.sync)
		synctest.Wait()
		if fmt.Sprint(told) != "[0 1 2 3 4 5 6 7 8 9]" {
			t.Errorf("told: %v", told)
		}
		j.Close()
	})
}

// While many records come, a group gathers them for SyncDelay; few records wait for nothing, and those that all publishers
// wait for wait for one step.
func TestSyncDelayGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := small(journaltest.New())
		o.SyncDelay = 20 * time.Millisecond
		j := open(t, o)
		defer j.Close()
		wantGroups := func(want uint64, why string) {
			t.Helper()
			synctest.Wait()
			if n := j.Stats().Groups; n != want {
				t.Fatalf("%s: %d groups, want %d", why, n, want)
			}
		}
		for n := range 3 {
			add(t, j, nil, nil)
			wantGroups(uint64(n+1), "one record")
		}
		held := make(chan struct{})
		add(t, j, nil, func(error) { <-held }) // the committer waits here
		wantGroups(4, "a record whose claim holds the committer up")
		for range 20 {
			add(t, j, nil, nil)
		}
		close(held)
		wantGroups(4, "twenty records")
		time.Sleep(10 * time.Millisecond)
		wantGroups(5, "twenty records and a step without more")
		for range 39 {
			add(t, j, nil, nil)
			time.Sleep(time.Millisecond)
		}
		wantGroups(6, "a record each millisecond, for less than two delays")
		time.Sleep(20 * time.Millisecond)
		wantGroups(7, "the last of them")
		for range 9 {
			add(t, j, nil, nil)
		}
		add(t, j, make([]byte, 600), nil)
		wantGroups(8, "half full")
	})
}

func TestCommitComesBehindWhatWasAppended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := open(t, small(journaltest.New()))
		defer j.Close()
		var order []string
		say := func(s string) func(error) { return func(error) { order = append(order, s) } }
		fence(t, j, say("nothing"))
		synctest.Wait()
		add(t, j, nil, say("a"))
		fence(t, j, say("fence"))
		add(t, j, nil, say("b"))
		synctest.Wait()
		if got := strings.Join(order, " "); got != "nothing a fence b" {
			t.Error(got)
		}
	})
}

func TestFailedSyncIsFinalForItsFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := journaltest.New()
		o := small(d)
		var faults []error
		o.OnFault = func(err error) { faults = append(faults, err) }
		j := open(t, o)
		appendAll(t, j, "a")
		synctest.Wait()
		used := map[string]int{}
		failed := false
		d.Fail(func(s journaltest.Step) error {
			used[s.Op+" "+s.Name]++
			if s.Op == "sync" && !failed {
				failed = true
				return errors.New("input/output error")
			}
			return nil
		}, journaltest.Forgotten)
		appendAll(t, j, "b")
		appendAll(t, j, "c")
		synctest.Wait()
		if found, gaps := read(t, j, 1); len(found) != 3 || gaps != nil || found[2] != "b" {
			t.Errorf("found %v, %v", found, gaps)
		}
		if len(faults) != 1 || j.Err() != nil {
			t.Errorf("faults %v, state %v", faults, j.Err())
		}
		for range 5 {
			appendAll(t, j, string(make([]byte, 900)))
			j.Trim(j.End())
			synctest.Wait()
		}
		if n := used["write 00000001.segment"]; n != 1 || used["remove 00000001.segment"] != 1 {
			t.Errorf("%d writes to the file whose sync failed; removed: %v", n, used)
		}
		j.Close()
	})
}

// TestGroupThatFailedTwice lets a group reach the disk in two files, whose syncs fail, and which
// cannot be removed. Its claims are refused, and its places go to other records, which are the ones that count.
func TestGroupThatFailedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := journaltest.New()
		j := open(t, small(d))
		appendAll(t, j, "a")
		synctest.Wait()
		d.Fail(func(s journaltest.Step) error {
			if s.Op == "sync" && (s.Name == "00000001.segment" || s.Name == "00000002.segment") || s.Op == "remove" {
				return errors.New("input/output error")
			}
			return nil
		}, journaltest.Done)
		told := make(chan error, 2)
		for _, text := range []string{"refused", "refused too"} {
			if _, err := j.Append([]byte(text), func(err error) { told <- err }); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(<-told, <-told); !errors.Is(err, journal.ErrFailed) {
			t.Fatalf("told %v", err)
		}
		time.Sleep(time.Minute)
		appendAll(t, j, "b")
		j.Close()
		if sizes := d.Sizes(); len(sizes) < 3 {
			t.Fatalf("files: %v", sizes)
		}
		d = d.Copy()
		for range 2 {
			j = open(t, small(d))
			found, gaps := read(t, j, 1)
			if len(found) != 2 || found[2] != "b" || gaps != nil {
				t.Errorf("found %v, gaps %v", found, gaps)
			}
			j.Close()
		}
	})
}

func TestDiskThatFailsAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, disk := journaltest.New(), errors.New("input/output error")
		o := small(d)
		rooms, attempts := 0, 0
		o.OnRoom = func() { rooms++ }
		j := open(t, o)
		defer j.Close()
		synctest.Wait()
		d.Fail(func(journaltest.Step) error { attempts++; return disk }, journaltest.Forgotten)
		told := make(chan error, 1)
		if _, err := j.Append([]byte("a"), func(err error) { told <- err }); err != nil {
			t.Fatal(err)
		}
		if err := <-told; !errors.Is(err, journal.ErrFailed) || !errors.Is(err, disk) {
			t.Errorf("told %v", err)
		}
		if err := j.Err(); !errors.Is(err, disk) {
			t.Errorf("state: %v", err)
		}
		if _, err := j.Append(nil, nil); !errors.Is(err, journal.ErrFailed) {
			t.Errorf("accepted: %v", err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if attempts > 3*3600/5+50 {
			t.Errorf("%d attempts in an hour", attempts)
		}
		if rooms != 0 {
			t.Error("told to come again while the disk fails")
		}
		d.Fail(nil, 0)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if err := j.Err(); err != nil || rooms != 1 {
			t.Fatalf("state %v, told %d times", err, rooms)
		}
		appendAll(t, j, "b")
		if found, _ := read(t, j, 1); len(found) != 1 || found[1] != "b" {
			t.Errorf("found %v", found)
		}
		synctest.Wait()
		if n := len(d.Sizes()); n > 3 {
			t.Errorf("%d files are left", n)
		}
	})
}

func TestFullDisk(t *testing.T) {
	for name, limit := range map[string]func(*journal.Options, *journaltest.Disk){
		"bytes":   func(o *journal.Options, _ *journaltest.Disk) { o.MaxBytes = 3*4096 + 100 },
		"reserve": func(o *journal.Options, d *journaltest.Disk) { o.Reserve = 1 << 20; d.SetFree(1<<20 + 4096) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := journaltest.New()
				o := small(d)
				limit(&o, d)
				rooms := 0
				o.OnRoom = func() { rooms++ }
				j := open(t, o)
				defer j.Close()
				var err error
				n := 0
				for ; err == nil && n < 100; n++ {
					if name == "reserve" && n == 3 {
						d.SetFree(1<<20 + 4095)
					}
					told := make(chan error, 1)
					if _, err = j.Append(make([]byte, 900), func(err error) { told <- err }); err == nil {
						err = <-told
					}
					synctest.Wait()
				}
				if !errors.Is(err, journal.ErrSpace) || !errors.Is(j.Err(), journal.ErrSpace) {
					t.Fatalf("after %d records: %v, state %v", n, err, j.Err())
				}
				if _, err := j.Append(nil, nil); !errors.Is(err, journal.ErrSpace) {
					t.Errorf("accepted: %v", err)
				}
				j.Trim(j.End())
				synctest.Wait()
				if j.Err() != nil || rooms != 1 {
					t.Fatalf("after trimming: %v, told %d times", j.Err(), rooms)
				}
				appendAll(t, j, "goes on")
			})
		})
	}
}

func TestDamagedFileIsKeptAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := journaltest.New()
		j := open(t, small(d))
		appendAll(t, j, "a")
		appendAll(t, j, "b")
		j.Close()
		d.Flip("00000001.segment", 512+48+8, 0) // the first byte of a
		j, rec, err := journal.Open(small(d))
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		if fmt.Sprint(rec.Lost) != fmt.Sprint([]journal.Gap{{From: 1, To: 2}}) {
			t.Errorf("lost: %v", rec.Lost)
		}
		found, gaps := read(t, j, 1)
		if len(found) != 1 || found[2] != "b" || len(gaps) != 1 || gaps[0] != (journal.Gap{From: 1, To: 2}) {
			t.Errorf("found %v, gaps %v", found, gaps)
		}
		appendAll(t, j, "c")
		j.Trim(j.End())
		synctest.Wait()
		sizes := d.Sizes()
		if sizes["00000001.segment.damaged"] == 0 || sizes["00000001.segment"] != 0 {
			t.Errorf("files: %v", sizes)
		}
	})
}

// TestTrimmedFilesAreBounded fills many segments, trims them at once, and expects most files to be removed.
func TestTrimmedFilesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := journaltest.New()
		j := open(t, small(d))
		defer j.Close()
		for range 60 {
			appendAll(t, j, string(make([]byte, 900)))
		}
		before := len(d.Sizes())
		j.Trim(j.End())
		synctest.Wait()
		if after := len(d.Sizes()); before < 20 || after > 5 {
			t.Errorf("%d files, then %d", before, after)
		}
		if s := j.Stats(); s.First < 50 {
			t.Errorf("after trimming the oldest is %d of %d", s.First, s.End)
		}
	})
}

func TestAppendAllocatesNothing(t *testing.T) {
	j := open(t, journal.Options{FS: journal.Dir(t.TempDir()), SegmentSize: 8 << 20})
	defer j.Close()
	record, done := make([]byte, 128), func(error) {}
	for range 5000 {
		add(t, j, record, done)
	}
	wait(t, j)
	if n := testing.AllocsPerRun(2000, func() { add(t, j, record, done) }); n > 0 {
		t.Errorf("%v allocations a record", n)
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []journal.Options{
		{},
		{FS: journaltest.New(), SegmentSize: 1000},
		{FS: journaltest.New(), SegmentSize: 4096, Pending: 4096},
		{FS: journaltest.New(), Pending: 1},
		{FS: journaltest.New(), MaxBytes: 100 << 20},
	} {
		if _, _, err := journal.Open(o); err == nil {
			t.Errorf("accepted: %+v", o)
		}
	}
	if _, _, err := journal.Open(journal.Options{FS: journal.Dir("/proc/none")}); err == nil {
		t.Error("a directory that cannot be made is accepted")
	}
}
