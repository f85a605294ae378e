package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/longline/longline/internal/bench"
	"github.com/longline/longline/internal/fleet"
)

// BenchFormats is longline bench formats.
type BenchFormats struct {
	File         string `arg:"" name:"file" type:"path" help:"Recording: CSV with a line of column names, or one JSON object per line. It may be gzipped."`
	Messages     int    `default:"0" help:"Most messages that are measured, from the beginning of the file; 0 means all."`
	Comment      string `placeholder:"CHARACTER" help:"Skip lines that begin with this character."`
	Delimiter    string `placeholder:"CHARACTER" help:"Character between values, or the word tab (taken from the first line)."`
	DecimalComma bool   `help:"Read 12,5 as the number 12.5."`
	JSON         bool   `name:"json" help:"Print the results as JSON."`
}

var errEnough = errors.New("enough messages")

// Run reports what the recording costs in each format and compression.
func (b *BenchFormats) Run(ctx context.Context, c *Console) error {
	replay := fleet.Replay{Comment: b.Comment, Delimiter: b.Delimiter, DecimalComma: b.DecimalComma}
	results, err := bench.Formats(ctx, func(each func([]byte) error) error {
		n := 0
		err := replay.Payloads(b.File, func(payload []byte) error {
			if n++; b.Messages > 0 && n > b.Messages {
				return errEnough
			}
			return each(payload)
		})
		if errors.Is(err, errEnough) {
			return nil
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case results[0].Messages == 0:
		return fmt.Errorf("%s has no rows", b.File)
	case b.JSON:
		return bench.WriteFormatsJSON(c.Out, results)
	}
	fmt.Fprintf(c.Out, "%s: %d messages\n\n", b.File, results[0].Messages)
	return bench.WriteFormats(c.Out, results)
}
