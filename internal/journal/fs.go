package journal

import "io"

// FS is the directory of one journal's files. Dir returns one of the operating system; tests have
// others, which forget data and fail. A name is a file name without a path.
type FS interface {
	// Lock keeps other processes out of the directory until the Closer is closed.
	Lock() (io.Closer, error)
	List() ([]string, error)
	// Create makes a file that must not exist.
	Create(name string) (File, error)
	Open(name string) (File, error)
	Rename(from, to string) error
	Remove(name string) error
	// Sync returns when the names are on the disk.
	Sync() error
	// Free returns how many bytes the file system has left for this process.
	Free() (int64, error)
}

// File is an open file. Several goroutines may call its methods.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	// Allocate reserves disk space for the first size bytes.
	Allocate(size int64) error
	// Sync returns when everything that was written is on the disk. After an error nobody knows what is.
	Sync() error
}
