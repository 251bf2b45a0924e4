package failure

import (
	"crypto/sha256"
	"encoding/binary"
)

// SignatureVersion is the prefix of every signature. It changes with anything
// that would give an old failure another signature, [Normalise] included.
const SignatureVersion = "s1"

// SignatureInput is what makes two failures the same failure.
type SignatureInput struct {
	// Source and Group are the subscription. An empty group is "default".
	Source, Group string
	// Category, Type, Message and Frame are those of the [Failure]. Message is
	// normalised, all others count byte for byte.
	Category Category
	Type     string
	Message  string
	Frame    string
}

// Signature returns the fingerprint by which failures with one cause are
// grouped: "s1:" and 26 characters of lower-case base32, which is half of a
// SHA-256. Equal inputs give equal signatures on every machine and in every
// release, as long as the version is the same.
func Signature(in SignatureInput) string {
	if in.Group == "" {
		in.Group = "default"
	}
	const lengths = 16
	b := make([]byte, 0, lengths+len(in.Source)+len(in.Group)+len(in.Type)+len(in.Frame)+normalRoom(in.Message))
	b = append(b, SignatureVersion...)
	b = appendField(b, in.Source)
	b = appendField(b, in.Group)
	b = append(b, byte(in.Category))
	b = appendField(b, in.Type)
	b = appendField(b, in.Frame)
	b = appendNormal(b, in.Message)
	sum := sha256.Sum256(b)
	out := make([]byte, 0, len(SignatureVersion)+1+26)
	out = append(out, SignatureVersion...)
	out = append(out, ':')
	return string(appendBase32(out, sum[:16]))
}

// Signature returns the fingerprint of the failure on a subscription.
func (f Failure) Signature(source, group string) string {
	return Signature(SignatureInput{
		Source: source, Group: group,
		Category: f.Category, Type: f.Type, Message: f.Message, Frame: f.Frame,
	})
}

// appendField writes the length first, so that no two inputs give the same
// bytes.
func appendField(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// appendBase32 appends the lower-case base32 of RFC 4648, without padding.
func appendBase32(dst, src []byte) []byte {
	const alphabet = "abcdefghijklmnopqrstuvwxyz234567"
	var bits, have uint
	for _, c := range src {
		bits, have = bits<<8|uint(c), have+8
		for have >= 5 {
			have -= 5
			dst = append(dst, alphabet[bits>>have&31])
		}
	}
	if have > 0 {
		dst = append(dst, alphabet[bits<<(5-have)&31])
	}
	return dst
}
