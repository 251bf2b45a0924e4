package envelope

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"

	"github.com/redrive-dev/redrive/broker"
)

// Digest returns the lower-case hexadecimal SHA-256 of a body: the value of
// Envelope.BodyDigest. A nil body has the digest of an empty one.
func Digest(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// Belongs reports whether the envelope speaks about a message that was received
// on this source by this consumer group, with a body of this digest (see
// [Digest]). An envelope that does not is a copied header: producer data, and
// its message starts afresh. An empty group is [broker.DefaultGroup]; an
// envelope without a digest belongs to nothing.
func (e Envelope) Belongs(source, group, digest string) bool {
	return e.BodyDigest != "" && e.BodyDigest == digest &&
		e.Source == source &&
		cmp.Or(e.Group, broker.DefaultGroup) == cmp.Or(group, broker.DefaultGroup)
}
