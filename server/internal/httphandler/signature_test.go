package httphandler

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The published example of Standard Webhooks: any of its libraries gives the same.
const (
	vectorSecret    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	vectorID        = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	vectorTime      = 1614265330
	vectorBody      = `{"test": 2432232314}`
	vectorSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

const otherSecret = "whsec_b3RoZXItb3RoZXItb3RoZXItb3RoZXItb3RoZXI="

func TestPublishedVector(t *testing.T) {
	t.Parallel()
	var got http.Header
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header })
	c := newClient(t, Config{
		URL: s.URL, Signing: []Secret{Static(vectorSecret + "\n")},
		Now: func() time.Time { return time.Unix(vectorTime, 0) },
	})
	require.NoError(t, c.Handle(t.Context(), Request{Body: []byte(vectorBody), IdempotencyKey: vectorID, MessageID: "other"}))
	require.Equal(t, vectorID, got.Get("webhook-id"))
	require.Equal(t, "1614265330", got.Get("webhook-timestamp"))
	require.Equal(t, vectorSignature, got.Get("webhook-signature"))
}

// verifySignature checks a request as a receiver does, written from the specification:
// it knows nothing of the code under test.
func verifySignature(secret string, h http.Header, body []byte) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return err
	}
	mac := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(mac, "%s.%s.%s", h.Get("webhook-id"), h.Get("webhook-timestamp"), body)
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for sig := range strings.SplitSeq(h.Get("webhook-signature"), " ") {
		if hmac.Equal([]byte(sig), []byte(want)) {
			return nil
		}
	}
	return errors.New("no signature matches")
}

func TestRotation(t *testing.T) {
	t.Parallel()
	body := []byte("a.b\x00\xff")
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got, _ := io.ReadAll(r.Body)
		for _, secret := range []string{vectorSecret, otherSecret} {
			if err := verifySignature(secret, r.Header, got); err != nil {
				http.Error(w, err.Error(), http.StatusUnauthorized)
			}
		}
		if verifySignature("whsec_"+base64.StdEncoding.EncodeToString(make([]byte, 24)), r.Header, got) == nil {
			http.Error(w, "any secret matches", http.StatusUnauthorized)
		}
	})
	c := newClient(t, Config{URL: s.URL, Signing: []Secret{Static(vectorSecret), Static(otherSecret)}})
	require.NoError(t, c.Handle(t.Context(), Request{Body: body, IdempotencyKey: "cluster/orders.v1/12%"}))
	require.NoError(t, c.Handle(t.Context(), Request{Body: nil, MessageID: "m"}))
}

func TestWebhookID(t *testing.T) {
	t.Parallel()
	require.Equal(t, "c/orders%2Ev1/1%25", webhookID(Request{IdempotencyKey: "c/orders.v1/1%", MessageID: "m"}))
	require.Equal(t, "m", webhookID(Request{MessageID: "m"}))
	a, b := webhookID(Request{}), webhookID(Request{})
	require.NotEqual(t, a, b)
	require.True(t, strings.HasPrefix(a, "msg_"))
}

func TestWrongSigningSecrets(t *testing.T) {
	t.Parallel()
	for secret, want := range map[string]string{
		"topsecret":                      `does not begin with "whsec_"`,
		"whsec_topsecret!":               "is not standard base64",
		"whsec_dG9wc2VjcmV0":             "has 9 bytes; want at least 24",
		"whsec_":                         "has 0 bytes",
		"whsec_dG9wc2VjcmV0dG9wc2Vjcm-_": "is not standard base64",
	} {
		_, err := New(Config{URL: "http://localhost", Signing: []Secret{Static(vectorSecret), Static(secret)}})
		require.ErrorContains(t, err, "signing secret 2 "+want)
		require.NotContains(t, err.Error(), "topsecret")
		require.NotContains(t, err.Error(), "dG9wc2")
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	t.Parallel()
	cfg := Config{
		URL: "http://localhost", Auth: Auth{User: "u", Password: Static("topsecret")},
		SecretHeaders: map[string]Secret{"X-Api-Key": Static("topsecret")}, Signing: []Secret{Static(vectorSecret)},
	}
	c := newClient(t, cfg)
	var log strings.Builder
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("x", slog.Any("config", cfg.Auth.Password), slog.Any("all", cfg.Auth), slog.Any("client", c))
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&log, format+format+format, cfg, cfg.Auth.Password, c)
	}
	encoded, err := json.Marshal(cfg.Auth)
	require.NoError(t, err)
	require.JSONEq(t, `{"Bearer":"[redacted]","User":"u","Password":"[redacted]"}`, string(encoded))
	log.Write(encoded)
	require.NotContains(t, log.String(), "topsecret")
	require.NotContains(t, log.String(), "746f70736563726574")
	require.NotContains(t, log.String(), "MfKQ9r8")
}
