package idempotency

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"strconv"
)

// CopyIncarnation returns the incarnation of a copy that this consumer group
// makes of the stored message with the incarnation read: 32 characters of
// lower-case base32. Making the copy again gives the same value, so that a
// repeated move is one letter.
func CopyIncarnation(read, group string) string {
	return digest("redrive/incarnation", read, group)
}

// RecordID returns the id of one record of a file that is published, from a
// digest that identifies the file's content and the number of the record: 32
// characters of lower-case base32. Publishing the file again gives the same ids.
func RecordID(file string, record int) string {
	return digest("redrive/record", file, strconv.Itoa(record))
}

// Origin returns what all copies have in common that one consumer group makes of
// the stored message with the incarnation read, however many there are and whatever
// way each of them went: 32 characters of lower-case base32.
func Origin(read, group string) string {
	return digest("redrive/origin", read, group)
}

// DeadPublishID returns the publish id of the dead-lettering of a message by one
// consumer group, "dl:<origin>:<group>", and "dl:<origin>:<group>:<replay>" after a
// replay. A message that was forked by a crash, so that two copies of it go through
// the retry queue, becomes one letter; one that is replayed and fails again becomes
// another. The group keeps two groups on one stream from swallowing each other's
// letters. Colons in the parts, percent signs and unprintable bytes are escaped.
func DeadPublishID(origin, group, replay string) string {
	id := "dl:" + escape(origin, ":") + ":" + escape(group, ":")
	if replay != "" {
		id += ":" + escape(replay, ":")
	}
	return id
}

// LetterIncarnation returns the incarnation of the letter that has the publish id of
// [DeadPublishID] for the same arguments: 32 characters of lower-case base32.
func LetterIncarnation(origin, group, replay string) string {
	return digest("redrive/letter", origin, group, replay)
}

// PublishID returns the publish id of a first publication, "pub:<id>", from an
// id that the caller fixes before the first try. Percent signs and unprintable
// bytes are escaped.
func PublishID(id string) string {
	return prefixPublish + escape(id, "")
}

// Scope names a subscription for the group argument of a [Store]:
// "<source>/<group>", escaped where a part contains a slash or a percent sign.
// Keys that come from a header are chosen by the producer and can be equal in
// two sources; with the group alone, the second message would be taken for a
// duplicate of the first.
func Scope(source, group string) string {
	return escape(source, "/") + "/" + escape(group, "/")
}

// digest hashes the parts with their lengths, so that no two lists of parts give
// the same input. 160 bits keep a collision out of reach and the envelope small.
func digest(parts ...string) string {
	h := sha256.New()
	var size [8]byte
	for _, part := range parts {
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:])
		h.Write([]byte(part))
	}
	return base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding).EncodeToString(h.Sum(nil)[:20])
}
