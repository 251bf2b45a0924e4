package simulation

import (
	"strconv"
	"time"
)

// trace is what happened, one line for each event, in an order and in words that
// follow from the seed alone.
type trace struct {
	buf []byte
	now *int64
}

// line begins a line with the time and what happened.
func (t *trace) line(what string) *trace {
	t.buf = appendSeconds(t.buf, *t.now)
	return t.s(what)
}

func (t *trace) s(s string) *trace {
	t.buf = append(append(t.buf, ' '), s...)
	return t
}

func (t *trace) n(name string, n int) *trace {
	t.buf = append(append(t.buf, ' '), name...)
	t.buf = strconv.AppendInt(t.buf, int64(n), 10)
	return t
}

func (t *trace) d(name string, d time.Duration) *trace {
	t.buf = append(append(append(t.buf, ' '), name...), '=')
	t.buf = appendSeconds(t.buf, int64(d))
	return t
}

// p names the process.
func (t *trace) p(p *process) *trace {
	if p == nil {
		return t
	}
	return t.s(p.name)
}

func (t *trace) err(err error) *trace {
	if err == nil {
		return t.s("ok")
	}
	return t.s("error:").s(err.Error())
}

func (t *trace) end() { t.buf = append(t.buf, '\n') }

// appendSeconds writes nanoseconds as seconds with six digits.
func appendSeconds(b []byte, ns int64) []byte {
	if ns < 0 {
		b = append(b, '-')
		ns = -ns
	}
	us := ns / 1000
	b = strconv.AppendInt(b, us/1e6, 10)
	b = append(b, '.')
	frac := us % 1e6
	for scale := int64(1e5); scale > 0; scale /= 10 {
		b = append(b, byte('0'+frac/scale%10))
	}
	return b
}
