package command

// State is where a command is in its life, as far as there is evidence for it. States move forward only:
//
//	Queued -> Sent -> Succeeded | Failed     the device's own answer
//	Queued         -> Expired | Cancelled    it was never sent
//	Queued | Sent  -> Unknown                it may have been sent, and nobody waits for an answer any more
type State uint8

// The states. Their numbers are kept in stores.
const (
	AnyState  State = iota // selects commands in every state
	Queued                 // kept, and not sent
	Sent                   // sent at least once, and not answered
	Succeeded              // the device has answered
	Failed                 // the device has answered with an error
	Expired                // its time was over before it was sent
	Cancelled              // it was cancelled before it was sent
	Unknown                // it was or may have been sent, and then its time was over or it was cancelled
	numStates
)

var stateNames = [numStates]string{"any", "queued", "sent", "succeeded", "failed", "expired", "cancelled", "unknown"}

// String returns the name of the state, as metrics have it.
func (s State) String() string { return stateNames[s] }

// Ended reports whether the state is final.
func (s State) Ended() bool { return s > Sent }

// attempt is what a node knows of the sending of a command that is not Sent. A node that dies between writing a call to a socket
// and noting that would not know that the device may have the call. So it first promises on disk that it will send the
// command, and only then sends it. A promise is made once. After a restart it means that the command may have been sent, unless the
// node ended in order and withdrew it.
type attempt uint8

const (
	unsent   attempt = iota // it was not sent for certain
	promised                // the promise is made, and perhaps not safe yet; the command was not sent for certain
	inHand                  // a loop is about to write it, for the first time
	possible                // it may have been sent, also by an earlier life of the node
)

// Status is the part of a command that the rules below decide on.
type Status struct {
	State   State
	attempt attempt
	late    bool // an answer came after the end
}

// event is something that happens to a command.
type event uint8

const (
	promise  event = iota // the node will send it
	withdraw              // the node ends, and nothing is in hand any more
	take                  // a loop takes it to write it, perhaps while the loop of an older connection has it in hand
	refuse                // the connection does not take it: nothing was written
	hand                  // it was written to the connection
	succeed               // the device answers
	fail                  // the device answers with an error
	expire                // its time is over
	cancel                // a backend cancels it
)

// mayBeAtDevice reports whether the device may have got the command.
func (s Status) mayBeAtDevice() bool { return s.State == Sent || s.attempt >= inHand }

// after returns the status after an event. An event that cannot be, or that changes nothing, returns s.
func (s Status) after(e event) Status {
	if s.State.Ended() {
		// An answer to what was never sent is none.
		s.late = s.late || s.State == Unknown && (e == succeed || e == fail)
		return s
	}
	switch e {
	case promise:
		s.move(unsent, promised)
	case withdraw:
		s.move(promised, unsent)
	case take:
		s.move(inHand, possible)
		s.move(promised, inHand)
	case refuse:
		s.move(inHand, promised)
	case hand:
		s.State, s.attempt = Sent, possible
	case succeed, fail:
		if s.mayBeAtDevice() {
			s.State = map[event]State{succeed: Succeeded, fail: Failed}[e]
		}
	case expire, cancel:
		if s.mayBeAtDevice() {
			s.State = Unknown
		} else {
			s.State = map[event]State{expire: Expired, cancel: Cancelled}[e]
		}
	}
	return s
}

// restored returns the status of a command that a node finds in its store when it starts.
func (s Status) restored() Status {
	if s.attempt != unsent {
		s.attempt = possible
	}
	return s
}

// move changes the attempt of a command that is not sent.
func (s *Status) move(from, to attempt) {
	if s.attempt == from {
		s.attempt = to
	}
}
