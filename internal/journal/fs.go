package journal

import "io"

// FS is a directory for one journal's files. Dir returns that of the operating system; tests have
// others, which forget and fail. A name is a file name without a path.
type FS interface {
	// Lock keeps other processes out of the directory until the Closer is closed.
	Lock() (io.Closer, error)
	List() ([]string, error)
	// Create makes a file that must not exist.
	Create(name string) (File, error)
	Open(name string) (File, error)
	Rename(from, to string) error
	Remove(name string) error
	// Sync returns once the names are on the disk.
	Sync() error
	// Free returns the bytes that the file system has left for this process.
	Free() (int64, error)
}

// File is an open file. Its methods may be called by several goroutines.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	// Allocate takes the disk space for the first size bytes.
	Allocate(size int64) error
	// Sync returns once all that was written is on the disk. After an error nobody knows what is.
	Sync() error
}
