package fleet

import (
	"errors"
	"io"
	"slices"
)

// pass reads the files of a recording together, in the order of time. The rows of one
// file keep their order.
type pass struct {
	files []*rows // all files, to close them
	left  []*rows // files with a row left
	last  *rows   // the file that next returned
}

// open begins a pass over the files.
func (rec *recording) open() (*pass, error) {
	p := new(pass)
	for _, name := range rec.Files {
		file, err := rec.openFile(name)
		if err == nil {
			p.files = append(p.files, file)
			p.left = append(p.left, file)
			err = p.advance(file)
		}
		if err != nil {
			p.close()
			return nil, err
		}
	}
	return p, nil
}

// next returns the file with the earliest row, which is valid until the next call; of rows with
// the same time, that of the file that was named first. io.EOF is the end.
func (p *pass) next() (*rows, error) {
	if p.last != nil {
		if err := p.advance(p.last); err != nil {
			return nil, err
		}
	}
	if len(p.left) == 0 {
		return nil, io.EOF
	}
	p.last = slices.MinFunc(p.left, func(a, b *rows) int { return a.at.Compare(b.at) })
	return p.last, nil
}

// advance reads the next row of a file. It drops the file if there is none.
func (p *pass) advance(file *rows) error {
	err := file.next()
	if errors.Is(err, io.EOF) {
		p.left = slices.DeleteFunc(p.left, func(r *rows) bool { return r == file })
		p.last = nil
		return nil
	}
	return err
}

func (p *pass) close() {
	for _, file := range p.files {
		file.close()
	}
}
