package envelope

import (
	"slices"
	"strings"

	"github.com/redrive-dev/redrive/broker"
)

// The names in Envelope.Trimmed.
const (
	// TrimmedStack: the stack was shortened or dropped.
	TrimmedStack = "stack"
	// TrimmedHistory: attempts between the first and the newest ones were dropped,
	// or lost their details.
	TrimmedHistory = "history"
	// TrimmedMessage: the message or the error type was shortened or dropped.
	TrimmedMessage = "message"
	// TrimmedControl: headers in Control were dropped.
	TrimmedControl = "control"
)

func cuttable(name string) bool {
	switch name {
	case TrimmedStack, TrimmedHistory, TrimmedMessage, TrimmedControl:
		return true
	}
	return false
}

const (
	// recordCost is the most that one more name in Trimmed adds to the size.
	recordCost = len(`,"trm":["history"]`)
	// shortErrorType and shortUncounted are what is left, when encoded, of texts
	// that are short in practice and that nobody bounds.
	shortErrorType = 64
	shortUncounted = 16
)

// precut bounds the work on a stack and a message that are longer than the limit
// by themselves. It needs no record: what it leaves is still over the limit, so
// trim cuts the same text again, further than a rune that was cut through.
func precut(e *Envelope, limit int) {
	e.Stack = e.Stack[:min(len(e.Stack), limit)]
	e.Message = e.Message[:min(len(e.Message), limit)]
}

// trim cuts the envelope until it fits into limit or nothing is left to cut, and
// returns its new wire form in the buffer raw.
func trim(raw []byte, e *Envelope, limit int) []byte {
	cuts := [...]func(*Envelope, int){
		cutStack, cutHistory, cutMessage, cutAttemptTexts, cutAttemptSignatures, cutControl,
	}
	for _, cut := range cuts {
		over := len(raw) - limit
		if over <= 0 {
			break
		}
		cut(e, over+recordCost)
		raw = appendEnvelope(raw[:0], e)
	}
	return raw
}

func record(e *Envelope, name string) {
	if !slices.Contains(e.Trimmed, name) {
		e.Trimmed = append(e.Trimmed, name)
	}
}

// cutStack shortens the stack from its end, where the frames tell least, at the
// end of a line.
func cutStack(e *Envelope, over int) {
	if e.Stack == "" {
		return
	}
	kept := clip(e.Stack, quotedLen(e.Stack)-over)
	e.Stack = kept[:strings.LastIndexByte(kept, '\n')+1]
	record(e, TrimmedStack)
}

// cutHistory drops attempts after the first, oldest first, and keeps the newest.
func cutHistory(e *Envelope, over int) {
	drop := 0
	var buf []byte
	for drop < len(e.Attempts)-2 && over > 0 {
		buf = appendAttempt(buf[:0], &e.Attempts[1+drop])
		over -= len(buf) + len(",")
		drop++
	}
	if drop > 0 {
		e.Attempts = slices.Delete(e.Attempts, 1, 1+drop)
		record(e, TrimmedHistory)
	}
}

func cutMessage(e *Envelope, over int) {
	if e.Message != "" {
		size := quotedLen(e.Message)
		e.Message = clip(e.Message, size-over)
		over -= size - quotedLen(e.Message)
		record(e, TrimmedMessage)
	}
	if over > 0 {
		if short := clip(e.ErrorType, shortErrorType); short != e.ErrorType {
			e.ErrorType = short
			record(e, TrimmedMessage)
		}
	}
}

// cutAttemptTexts takes from the attempts that are left what a person would
// like to know and no decision needs.
func cutAttemptTexts(e *Envelope, _ int) {
	for i := range e.Attempts {
		a := &e.Attempts[i]
		short := clip(a.Uncounted, shortUncounted)
		if a.ErrorType == "" && a.Worker == "" && short == a.Uncounted {
			continue
		}
		a.ErrorType, a.Worker, a.Uncounted = "", "", short
		record(e, TrimmedHistory)
	}
}

func cutAttemptSignatures(e *Envelope, _ int) {
	for i := range e.Attempts {
		if e.Attempts[i].Signature != "" {
			e.Attempts[i].Signature = ""
			record(e, TrimmedHistory)
		}
	}
}

// cutControl drops the largest headers first: one of them is usually a copied
// envelope, and the short ones that steer a broker are worth more.
func cutControl(e *Envelope, over int) {
	var buf []byte
	for len(e.Control) > 0 && over > 0 {
		largest, size := 0, 0
		for i := range e.Control {
			buf = appendHeader(buf[:0], &e.Control[i])
			if len(buf) >= size {
				largest, size = i, len(buf)
			}
		}
		over -= size + len(",")
		e.Control = slices.Delete(e.Control, largest, largest+1)
		record(e, TrimmedControl)
	}
	if len(e.Control) == 0 {
		e.Control = []broker.Header(nil)
	}
}
