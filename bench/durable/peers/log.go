package main

import (
	"fmt"
	"os"
	"time"
)

const startTime = 10 * time.Second

// quiet is a server.Logger that tells errors alone.
type quiet struct{}

func (quiet) Noticef(string, ...any) {}
func (quiet) Warnf(string, ...any)   {}
func (quiet) Debugf(string, ...any)  {}
func (quiet) Tracef(string, ...any)  {}

func (quiet) Errorf(text string, args ...any) { fmt.Fprintf(os.Stderr, "nats: "+text+"\n", args...) }
func (quiet) Fatalf(text string, args ...any) { quiet{}.Errorf(text, args...) }
