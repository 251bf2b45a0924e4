package httphandler

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// minSigningKey is the least length of a signing key in bytes, as the Standard
// Webhooks specification gives it.
const minSigningKey = 24

// signingKey is a decoded signing secret and the texts that reveal it.
type signingKey struct {
	key  []byte
	text []string
}

// readKeys reads and decodes signing secrets.
func readKeys(secrets []Secret) ([]signingKey, error) {
	keys := make([]signingKey, 0, len(secrets))
	for i, s := range secrets {
		value, err := s()
		if err != nil {
			return nil, fmt.Errorf("cannot read signing secret %d: %w", i+1, err)
		}
		k, err := decodeKey(strings.TrimSpace(value))
		if err != nil {
			return nil, fmt.Errorf("signing secret %d %w", i+1, err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// decodeKey decodes "whsec_<base64>". Its errors do not repeat the secret.
func decodeKey(secret string) (signingKey, error) {
	encoded, ok := strings.CutPrefix(secret, "whsec_")
	if !ok {
		return signingKey{}, errors.New(`does not begin with "whsec_"`)
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return signingKey{}, errors.New(`is not standard base64 after "whsec_"`)
	}
	if len(key) < minSigningKey {
		return signingKey{}, fmt.Errorf("has %d bytes; want at least %d, such as from: openssl rand -base64 32", len(key), minSigningKey)
	}
	return signingKey{key: key, text: []string{encoded, string(key)}}, nil
}

// sign returns the three headers of Standard Webhooks. id must not contain a dot.
func sign(keys []signingKey, id string, now time.Time, body []byte) map[string]string {
	timestamp := strconv.FormatInt(now.Unix(), 10)
	signatures := make([]string, 0, len(keys))
	for _, k := range keys {
		mac := hmac.New(sha256.New, k.key)
		mac.Write([]byte(id + "." + timestamp + "."))
		mac.Write(body)
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return map[string]string{
		http.CanonicalHeaderKey("webhook-id"):        id,
		http.CanonicalHeaderKey("webhook-timestamp"): timestamp,
		http.CanonicalHeaderKey("webhook-signature"): strings.Join(signatures, " "),
	}
}

// webhookID is the identity by which a receiver drops repeats. A message that has
// none gets a random one: it is then delivered, but no repeat of it is recognised.
func webhookID(r Request) string {
	id := r.IdempotencyKey
	if id == "" {
		id = r.MessageID
	}
	if id == "" {
		id = "msg_" + rand.Text()
	}
	return strings.ReplaceAll(strings.ReplaceAll(fieldValue(id), "%", "%25"), ".", "%2E")
}
