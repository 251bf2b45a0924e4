package httphandler

import (
	"bytes"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestAnswerText(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ in, want string }{
		"plain":          {"no such customer", "no such customer"},
		"lines":          {"\r\n a\n\tb \n", "a  b"},
		"terminal":       {"\x1b[2J\x1b]0;x\x07", "\uFFFD[2J\uFFFD]0;x\uFFFD"},
		"c1":             {"a\u009bb", "a\uFFFDb"},
		"direction":      {"a\u202Eb\u2066c", "a\uFFFDb\uFFFDc"},
		"line separator": {"a\u2028b", "a\uFFFDb"},
		"not utf-8":      {"a\xff\xfeb", "a\uFFFD\uFFFDb"},
		"cut":            {"a\xe2\x82", "a"},
		"empty":          {"", ""},
		"secret":         {"bad token s3cret-token!", "bad token [redacted]!"},
		"pair":           {"s3cret-token-old s3cret-token", "[redacted] [redacted]"},
		"across":         {strings.Repeat("x", maxMessage-3) + "s3cret-token and more", strings.Repeat("x", maxMessage-3) + "[re"},
		"cut secret":     {"bad token s3cr", "bad token [redacted]"},
		"not a secret":   {"bad s3c", "bad s3c"},
		"long":           {strings.Repeat("ü", maxMessage), strings.Repeat("ü", maxMessage/2)},
		"grows":          {strings.Repeat("\x00", maxMessage), strings.Repeat("\uFFFD", maxMessage/3)},
	} {
		require.Equal(t, tc.want, answerText([]byte(tc.in), []string{"s3cret-token", "s3cret-token-old", ""}), name)
	}
}

func FuzzAnswerText(f *testing.F) {
	f.Add([]byte("token=hunter2hunter2\x1b"), []byte("x"), 2040)
	f.Add([]byte("\xff\u202e"), []byte("\xe2"), 2047)
	f.Fuzz(func(t *testing.T, a, b []byte, pad int) {
		const secret = "hunter2hunter2"
		raw := append([]byte(nil), a...)
		raw = append(raw, strings.Repeat("p", max(pad, 0)%3000)...)
		raw = append(raw, secret...)
		raw = append(raw, b...)
		if n := maxMessage + len(secret); len(raw) > n {
			raw = raw[:n]
		}
		text := answerText(raw, []string{secret})
		if !utf8.ValidString(text) || len(text) > maxMessage {
			t.Fatalf("%d bytes: %q", len(text), text)
		}
		if strings.ContainsFunc(text, unicode.IsControl) {
			t.Fatalf("control character in %q", text)
		}
		for n := len(secret); n >= minTail; n-- {
			// A part of the secret that the input holds by itself says nothing.
			own := n < len(secret) && bytes.Contains(append(append([]byte(nil), a...), b...), []byte(secret[:n]))
			if strings.Contains(text, secret[:n]) && !own {
				t.Fatalf("%q reveals %q", text, secret[:n])
			}
		}
	})
}
