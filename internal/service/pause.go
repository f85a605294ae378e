package service

import (
	"errors"
	"net/http"
	"strconv"
	"time"
)

// mostPause bounds what is made of a Retry-After.
const mostPause = time.Hour

// Pause returns how long the instance wants to be left alone, by its Retry-After: at most an hour, and 0 if it has not said so.
func (a *Answer) Pause() time.Duration {
	if seconds, err := strconv.ParseUint(a.RetryAfter, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, mostPause)
	}
	if at, err := http.ParseTime(a.RetryAfter); err == nil {
		return min(max(0, time.Until(at)), mostPause)
	}
	return 0
}

// Pause is Answer.Pause for an error of Do, if an answer counted as a failure.
func Pause(err error) time.Duration {
	var s statusError
	errors.As(err, &s)
	return s.pause
}
