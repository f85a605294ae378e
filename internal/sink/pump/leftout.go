package pump

import "errors"

// ErrLeftOut is the error of Target.Prepare for a message that is not for the sink, as if its route had left it out.
var ErrLeftOut = errors.New("the message is not for this sink")
