package redrivekafka

import "slices"

// currentRows are the rows of a partition's note, by offset: those of its records, and
// those that an earlier member left for records that have not been seen yet.
func (p *partition) currentRows(position int64) []row {
	var rows []row
	list := func(r *record) {
		out := row{offset: r.offset, deliveries: r.deliveries, reached: p.crashes(r.offset), mark: r.mark, envelope: r.envelope}
		if !p.clean && r.offset < p.reach {
			out.reached++
		}
		if r.waits {
			out.until = r.due
		}
		rows = append(rows, out)
	}
	for r := range p.noted {
		list(r)
	}
	if p.clean {
		// The next member cannot tell from reached what was handed out here.
		for _, r := range p.known {
			if _, done := p.noted[r]; !done && r.deliveries > 0 {
				list(r)
			}
		}
	}
	for offset, r := range p.rows {
		if offset >= position {
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return int(a.offset - b.offset) })
	return rows
}

// remember keeps the list of records with rows.
func (p *partition) remember(r *record) {
	if !r.finished && (!r.mark.IsZero() || r.envelope != nil || r.waits && !p.lane.retries) {
		p.noted[r] = struct{}{}
		return
	}
	delete(p.noted, r)
}
