package httphandler

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/redrive-dev/redrive/broker"
)

// Names of the request headers that redrive sets. They are public: endpoints read
// them.
const (
	headerAttempt        = "Redrive-Attempt"
	headerMaxAttempts    = "Redrive-Max-Attempts"
	headerFirstFailure   = "Redrive-First-Failure"
	headerCorrelationID  = "Redrive-Correlation-Id"
	headerMessageID      = "Redrive-Message-Id"
	headerLeftOver       = "Redrive-Headers"
	headerOmitted        = "Redrive-Headers-Omitted"
	headerContentType    = "Content-Type"
	headerAuthorization  = "Authorization"
	headerUserAgent      = "User-Agent"
	headerIdempotencyKey = "Idempotency-Key"
)

const defaultContentType = "application/octet-stream"

// maxFieldValue bounds a value that comes from a message, in bytes.
const maxFieldValue = 1024

// validName reports whether s is a token of RFC 9110 section 5.6.2 of at most 256
// bytes.
func validName(s string) bool {
	if s == "" || len(s) > 256 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		alnum := '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !alnum && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return true
}

// validValue reports whether s goes through HTTP unchanged: visible ASCII with
// blanks inside. Bytes over 127 are allowed by RFC 9110 but read in different ways,
// and blanks at the ends are removed by whoever parses them.
func validValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != '\t' && (c < ' ' || c > '~') {
			return false
		}
	}
	return s == strings.Trim(s, " \t")
}

// fieldValue makes a header value of any string, short and injective but for the
// digest: what could be taken for an encoded value is encoded too.
func fieldValue(s string) string {
	const b64, digest = "base64:", "sha256:"
	switch {
	case len(s) > maxFieldValue:
		sum := sha256.Sum256([]byte(s))
		return digest + hex.EncodeToString(sum[:])
	case !validValue(s) || strings.HasPrefix(s, b64) || strings.HasPrefix(s, digest):
		return b64 + base64.StdEncoding.EncodeToString([]byte(s))
	}
	return s
}

// fold gives names that some server takes for the same header the same form: CGI
// and its successors read "_" and "." as "-".
func fold(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(strings.ToLower(name), "_", "-"), ".", "-")
}

// setByUs reports whether redrive or HTTP itself owns a request header.
func setByUs(name string) bool {
	folded := fold(name)
	switch folded {
	case "idempotency-key", "content-type", "user-agent", "authorization",
		"webhook-id", "webhook-timestamp", "webhook-signature",
		// Framing and routing of the request.
		"host", "content-length", "expect", "accept-encoding",
		// Hop by hop, RFC 9110 section 7.6.1.
		"connection", "keep-alive", "proxy-connection", "te", "trailer", "trailers",
		"transfer-encoding", "upgrade", "http2-settings",
		"proxy-authenticate", "proxy-authorization", "proxy-authentication-info":
		return true
	}
	return strings.HasPrefix(folded, "redrive-") || folded == "redrive"
}

// trusted reports whether endpoints base a decision about trust or routing on a
// header, so that a producer must not set it through redrive.
func trusted(name string) bool {
	folded := fold(name)
	switch folded {
	case "cookie", "cookie2", "set-cookie", "www-authenticate", "forwarded", "via",
		"x-api-key", "api-key", "apikey", "x-auth-token", "x-access-token", "x-csrf-token", "x-xsrf-token",
		"x-real-ip", "x-client-ip", "client-ip", "true-client-ip", "cf-connecting-ip", "x-cluster-client-ip",
		"x-original-url", "x-rewrite-url", "x-original-host", "x-host",
		"x-http-method", "x-http-method-override", "x-method-override",
		"x-remote-user", "remote-user", "x-webauth-user", "x-forwarded":
		return true
	}
	for _, prefix := range []string{"x-forwarded-", "x-amz-security-", "x-authenticated-", "x-goog-iap-", "x-ms-client-principal", "sec-", "x-auth-request-"} {
		if strings.HasPrefix(folded, prefix) {
			return true
		}
	}
	return false
}

// leftOver is a producer header in Redrive-Headers.
type leftOver struct {
	Name       string `json:"name,omitempty"`
	NameBase64 []byte `json:"name_base64,omitempty"`
	Value      []byte `json:"value"`
}

// addProducer adds the producer's headers to h, which already holds everything
// else: as they are where that is safe and unambiguous, else in Redrive-Headers.
// Together they take at most limit bytes.
func addProducer(h http.Header, producer []broker.Header, limit int) {
	taken, own := map[string]bool{}, map[string]string{}
	for name, values := range h {
		taken[fold(name)] = true
		own[strings.ToLower(name)] = values[0]
	}
	var rest []broker.Header
	sent := http.Header{}
	for _, p := range producer {
		if v, ok := own[strings.ToLower(p.Name)]; ok && v == string(p.Value) {
			continue // The request says the same already.
		}
		folded := fold(p.Name)
		size := len(p.Name) + len(p.Value) + len(": \r\n")
		if !passes(p) || taken[folded] || size > limit {
			rest = append(rest, p)
			continue
		}
		taken[folded] = true
		limit -= size
		sent[headerKey(p.Name)] = []string{string(p.Value)}
	}
	maps.Copy(h, sent)
	encoded, omitted := encodeLeftOver(rest, limit)
	if encoded != "" {
		h.Set(headerLeftOver, encoded)
	}
	if omitted > 0 {
		h.Set(headerOmitted, itoa(omitted))
	}
}

// passes reports whether a producer header can go out as an HTTP header.
func passes(p broker.Header) bool {
	return validName(p.Name) && validValue(string(p.Value)) && !setByUs(p.Name) && !trusted(p.Name)
}

// headerKey is the key of a name in an http.Header. X-Idempotency-Key keeps its
// lower case because net/http repeats requests that have the canonical form.
func headerKey(name string) string {
	if key := http.CanonicalHeaderKey(name); key != "X-Idempotency-Key" {
		return key
	}
	return "x-idempotency-key"
}

// encodeLeftOver makes the value of Redrive-Headers, in at most limit bytes, and
// tells how many headers it had to leave out.
func encodeLeftOver(headers []broker.Header, limit int) (string, int) {
	var items []byte
	omitted := 0
	for _, p := range headers {
		item, err := json.Marshal(newLeftOver(p))
		if err != nil || base64.StdEncoding.EncodedLen(len(items)+len(item)+len("[]")) > limit-len(headerLeftOver) {
			omitted++
			continue
		}
		if items != nil {
			items = append(items, ',')
		}
		items = append(items, item...)
	}
	if items == nil {
		return "", omitted
	}
	return base64.StdEncoding.EncodeToString([]byte("[" + string(items) + "]")), omitted
}

func newLeftOver(p broker.Header) leftOver {
	value := p.Value
	if value == nil {
		value = []byte{}
	}
	if !utf8.ValidString(p.Name) {
		return leftOver{NameBase64: []byte(p.Name), Value: value}
	}
	return leftOver{Name: p.Name, Value: value}
}
