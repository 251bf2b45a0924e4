package retry

import "time"

// Deposit adds tokens as many first attempts would, in parts of a token.
func Deposit(b *Budget, now time.Time, parts int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.advance(now)
	b.pay(parts)
}
