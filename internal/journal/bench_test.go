package journal_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/longline/longline/internal/journal"
)

// BenchmarkAppend has 1,000 publishers with one record of 128 bytes in flight each, into reused files
// and into new ones alone. In the same run it measures the floor: groups of the same sizes, written and
// synced into a file of zeroes without a journal.
func BenchmarkAppend(b *testing.B) {
	b.Run("trimmed", func(b *testing.B) { benchmarkAppend(b, true) })
	b.Run("growing", func(b *testing.B) { benchmarkAppend(b, false) })
}

func benchmarkAppend(b *testing.B, trim bool) {
	const publishers = 1000
	rec := &recorder{FS: journal.Dir(b.TempDir())}
	j, _, err := journal.Open(journal.Options{FS: rec, OnFault: func(err error) { b.Error(err) }})
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	for big := make([]byte, 1<<20); trim && j.Stats().Trimmed == 0; j.Trim(j.End()) { // until a file can be used again
		if _, err := j.Append(big, nil); err != nil {
			b.Fatal(err)
		}
		wait(b, j)
	}
	rec.forget()
	var left atomic.Int64
	left.Store(int64(b.N))
	waits := make([][]time.Duration, publishers)
	var wg sync.WaitGroup
	b.ResetTimer()
	cpu := processTime()
	for i := range publishers {
		wg.Go(func() {
			record, answer := make([]byte, 128), make(chan error, 1)
			done := func(err error) { answer <- err }
			for left.Add(-1) >= 0 {
				begun := time.Now()
				if _, err := j.Append(record, done); err != nil {
					b.Error(err)
					return
				}
				if err := <-answer; err != nil {
					b.Error(err)
					return
				}
				waits[i] = append(waits[i], time.Since(begun))
				if trim && i == 0 && len(waits[i])%128 == 0 {
					j.Trim(j.End())
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	took, cpu := b.Elapsed(), processTime()-cpu
	all := slices.Sorted(slices.Values(slices.Concat(waits...)))
	n, groups := float64(len(all)), rec.sizes()
	floor := disk(b, groups)
	b.ReportMetric(n/took.Seconds(), "ack/s")
	b.ReportMetric(ms(all[len(all)/2]), "ms-p50")
	b.ReportMetric(ms(all[len(all)*99/100]), "ms-p99")
	b.ReportMetric(float64(cpu.Nanoseconds())/1e3/n, "cpu-us/ack")
	b.ReportMetric(float64(len(groups))/took.Seconds(), "syncs/s")
	b.ReportMetric(n/float64(len(groups)), "records/sync")
	b.ReportMetric(took.Seconds()/floor.Seconds(), "x-floor")
	b.ReportMetric(0, "ns/op")
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// processTime returns the processor time that the process has used.
func processTime() time.Duration {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		panic(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// disk returns how long writing and syncing groups of these sizes takes by itself.
func disk(b *testing.B, sizes []int) time.Duration {
	const size = 64 << 20
	f, err := os.Create(filepath.Join(b.TempDir(), "floor"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 8<<20)
	put := func(n, at int) {
		_, err := f.WriteAt(buf[:n], int64(at))
		if err = errors.Join(err, unix.Fdatasync(int(f.Fd()))); err != nil {
			b.Fatal(err)
		}
	}
	for at := 0; at < size; at += len(buf) {
		put(len(buf), at)
	}
	begun, at := time.Now(), 0
	for _, n := range sizes {
		if at+n > size {
			at = 0
		}
		put(n, at)
		at += n
	}
	return time.Since(begun)
}

// recorder records the sizes of the groups that are written.
type recorder struct {
	journal.FS
	mu     sync.Mutex
	groups []int
}

func (r *recorder) sizes() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.groups)
}

func (r *recorder) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.groups = nil
}

func (r *recorder) Create(name string) (journal.File, error) {
	f, err := r.FS.Create(name)
	return recorded{f, r}, err
}

type recorded struct {
	journal.File
	r *recorder
}

func (f recorded) WriteAt(p []byte, at int64) (int, error) {
	if at != 0 && len(p) != 256<<10 { // neither a frame nor zeroes
		f.r.mu.Lock()
		f.r.groups = append(f.r.groups, len(p))
		f.r.mu.Unlock()
	}
	return f.File.WriteAt(p, at)
}

// BenchmarkRead has one reader take what a journal holds.
func BenchmarkRead(b *testing.B) {
	j, _, err := journal.Open(journal.Options{FS: journal.Dir(b.TempDir())})
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	const records = 200_000
	for n := range records {
		record := fmt.Appendf(make([]byte, 0, 128), "%0128d", n)
		for _, err := j.Append(record, nil); err != nil; _, err = j.Append(record, nil) {
			wait(b, j)
		}
	}
	wait(b, j)
	b.ResetTimer()
	r := j.Reader(0)
	for n := range b.N {
		if n%records == 0 {
			r = j.Reader(0)
		}
		if _, err := r.Next(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// wait returns when everything that was appended is safe.
func wait(t testing.TB, j *journal.Journal) {
	t.Helper()
	answer := make(chan error, 1)
	for j.Commit(func(err error) { answer <- err }) != nil {
		time.Sleep(time.Millisecond)
	}
	if err := <-answer; err != nil {
		t.Fatal(err)
	}
}
