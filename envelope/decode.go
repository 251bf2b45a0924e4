package envelope

import (
	"encoding/base64"
	"errors"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/failure"
)

// Decode reads the value of the header. It takes memory in proportion to the
// input and refuses more than MaxEncoded bytes; it never panics. Fields that it
// does not know are left out of the result, and are no error.
//
// The error is a *VersionError if a newer release wrote the envelope, else a
// *SyntaxError: the header is not an envelope, was damaged, or holds a field of
// the wrong kind, or one of its own fields twice. The envelope is zero with an error. Whether
// it speaks about the message it came with is for [Envelope.Belongs] to say.
func Decode(raw []byte) (Envelope, error) {
	if len(raw) > MaxEncoded {
		return Envelope{}, &SyntaxError{Offset: MaxEncoded, Problem: "longer than " + strconv.Itoa(MaxEncoded) + " bytes"}
	}
	version, err := readVersion(raw)
	if err != nil {
		return Envelope{}, err
	}
	if version > Version {
		return Envelope{}, &VersionError{Version: version}
	}
	var e Envelope
	s := scanner{raw: raw}
	if err := s.object("", e.decodeField(&s)); err != nil {
		return Envelope{}, err
	}
	if s.space(); s.at != len(raw) {
		return Envelope{}, s.fail("", "text after the end")
	}
	e.Trimmed = wireTrimmed(e.Trimmed)
	return e, nil
}

// readVersion finds the version before anything else is read, because a newer
// version may give the other fields another meaning. Encode writes it first.
func readVersion(raw []byte) (int64, error) {
	var version int64
	s := scanner{raw: raw}
	err := s.object("", func(name string) error {
		if name != "v" {
			return s.skip(0)
		}
		n, err := s.integer("v")
		if err != nil {
			return err
		}
		if version = n; n < 1 {
			return s.fail("v", "want a version of 1 or more")
		}
		return errFound
	})
	switch {
	case errors.Is(err, errFound):
		return version, nil
	case err != nil:
		return 0, err
	}
	return 0, s.fail("v", "missing")
}

// errFound ends the search for the version.
var errFound = errors.New("version found")

// decodeField returns the function that reads the value of one top-level field.
func (e *Envelope) decodeField(s *scanner) func(name string) error {
	var seen []string
	return func(name string) error {
		if !e.knows(name) {
			return s.skip(0)
		}
		if slices.Contains(seen, name) {
			return s.fail(name, "given twice")
		}
		seen = append(seen, name)
		if s.null() {
			return nil
		}
		return e.decodeKnown(s, name)
	}
}

func (e *Envelope) decodeKnown(s *scanner, name string) error {
	if field := e.textField(name); field != nil {
		return s.textInto(name, field)
	}
	if field := e.countField(name); field != nil {
		return s.countInto(name, field)
	}
	if field := e.timeField(name); field != nil {
		return s.timeInto(name, field)
	}
	switch name {
	case "cat":
		return s.categoryInto(name, &e.Category)
	case "trm":
		return s.array(name, func() error {
			text, err := s.text(name)
			e.Trimmed = append(e.Trimmed, text)
			return err
		})
	case "att":
		return s.array(name, func() error {
			e.Attempts = append(e.Attempts, Attempt{})
			return s.attempt(&e.Attempts[len(e.Attempts)-1])
		})
	case "ctl":
		return s.array(name, func() error {
			e.Control = append(e.Control, broker.Header{})
			return s.header(&e.Control[len(e.Control)-1])
		})
	}
	return s.skip(0) // "v", which readVersion has read.
}

func (e *Envelope) knows(name string) bool {
	switch name {
	case "v", "cat", "trm", "att", "ctl":
		return true
	}
	return e.textField(name) != nil || e.countField(name) != nil || e.timeField(name) != nil
}

func (e *Envelope) textField(name string) *string {
	switch name {
	case "id":
		return &e.ID
	case "key":
		return &e.Key
	case "inc":
		return &e.Incarnation
	case "pub":
		return &e.PublishID
	case "cor":
		return &e.CorrelationID
	case "src":
		return &e.Source
	case "grp":
		return &e.Group
	case "org":
		return &e.Origin
	case "pos":
		return &e.Position
	case "bd":
		return &e.BodyDigest
	case "rid":
		return &e.ReplayID
	case "why":
		return (*string)(&e.Reason)
	case "et":
		return &e.ErrorType
	case "sig":
		return &e.Signature
	case "cc":
		return &e.ClaimCheck
	case "msg":
		return &e.Message
	case "stk":
		return &e.Stack
	}
	return nil
}

func (e *Envelope) countField(name string) *int {
	switch name {
	case "n":
		return &e.Count
	case "un":
		return &e.Uncounted
	case "max":
		return &e.MaxAttempts
	case "rp":
		return &e.Replays
	}
	return nil
}

func (e *Envelope) timeField(name string) *time.Time {
	switch name {
	case "ff":
		return &e.FirstFailure
	case "lf":
		return &e.LastFailure
	case "ex":
		return &e.Exhausted
	}
	return nil
}

func (s *scanner) attempt(a *Attempt) error {
	return s.object("att", func(name string) error {
		if s.null() {
			return nil
		}
		switch name {
		case "t":
			return s.timeInto("att.t", &a.At)
		case "cat":
			return s.categoryInto("att.cat", &a.Category)
		case "et":
			return s.textInto("att.et", &a.ErrorType)
		case "sig":
			return s.textInto("att.sig", &a.Signature)
		case "d":
			ms, err := s.integer("att.d")
			if err == nil && (ms < 0 || ms > math.MaxInt64/int64(time.Millisecond)) {
				return s.fail("att.d", "out of range")
			}
			a.Delay = time.Duration(ms) * time.Millisecond
			return err
		case "w":
			return s.textInto("att.w", &a.Worker)
		case "un":
			return s.textInto("att.un", &a.Uncounted)
		case "rp":
			return s.countInto("att.rp", &a.Replay)
		}
		return s.skip(0)
	})
}

func (s *scanner) header(h *broker.Header) error {
	return s.object("ctl", func(name string) error {
		if s.null() {
			return nil
		}
		if (name == "v" || name == "b") && h.Value != nil {
			return s.fail("ctl."+name, "a second value")
		}
		switch name {
		case "h":
			return s.textInto("ctl.h", &h.Name)
		case "v":
			text, err := s.text("ctl.v")
			h.Value = []byte(text)
			return err
		case "b":
			text, err := s.text("ctl.b")
			if err != nil {
				return err
			}
			if h.Value, err = base64.StdEncoding.DecodeString(text); err != nil {
				return s.fail("ctl.b", "not base64")
			}
			return nil
		}
		return s.skip(0)
	})
}

func (s *scanner) textInto(field string, to *string) (err error) {
	*to, err = s.text(field)
	return err
}

func (s *scanner) countInto(field string, to *int) error {
	n, err := s.integer(field)
	if err == nil && (n < 0 || n > maxCount) {
		return s.fail(field, "out of range")
	}
	*to = int(n)
	return err
}

func (s *scanner) timeInto(field string, to *time.Time) error {
	ms, err := s.integer(field)
	if err == nil {
		*to = time.UnixMilli(ms).UTC()
	}
	return err
}

func (s *scanner) categoryInto(field string, to *failure.Category) error {
	text, err := s.text(field)
	if err != nil {
		return err
	}
	if *to, err = failure.ParseCategory(text); err != nil {
		return s.fail(field, err.Error())
	}
	return nil
}
