package httphandler

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNoSecretInAnyError lets endpoints send back everything that they were sent,
// in every place that an error could be made of.
func TestNoSecretInAnyError(t *testing.T) {
	t.Parallel()
	const token, password, key = "tok-5up3rs3cr3t", "pass-5up3rs3cr3t", "key-5up3rs3cr3t"
	echo := func(r *http.Request) string {
		_, pass, _ := r.BasicAuth()
		return strings.Join([]string{r.Header.Get("Authorization"), pass, r.Header.Get("X-Api-Key")}, " ")
	}
	answers := map[string]func(*http.Request) string{
		"body": func(r *http.Request) string { return "HTTP/1.1 500 X\r\nConnection: close\r\n\r\n" + echo(r) },
		"crossing": func(r *http.Request) string {
			return "HTTP/1.1 500 X\r\nConnection: close\r\n\r\n" + strings.Repeat("x", maxMessage-30) + echo(r)
		},
		"reason": func(r *http.Request) string { return "HTTP/1.1 500 " + echo(r) + "\r\nContent-Length: 0\r\n\r\n" },
		"location": func(r *http.Request) string {
			return "HTTP/1.1 302 X\r\nLocation: /" + echo(r) + "\r\nContent-Length: 0\r\n\r\n"
		},
		"category": func(r *http.Request) string {
			return "HTTP/1.1 500 X\r\nRedrive-Category: " + echo(r) + "\r\nContent-Length: 0\r\n\r\n"
		},
		"retry after": func(r *http.Request) string {
			return "HTTP/1.1 500 X\r\nRetry-After: " + echo(r) + "\r\nContent-Length: 0\r\n\r\n"
		},
		"status line": func(r *http.Request) string { return echo(r) + "\r\n\r\n" },
		"header line": func(r *http.Request) string { return "HTTP/1.1 200 X\r\n" + echo(r) + "\r\n\r\n" },
		"length":      func(r *http.Request) string { return "HTTP/1.1 200 X\r\nContent-Length: " + echo(r) + "\r\n\r\n" },
		"encoding":    func(r *http.Request) string { return "HTTP/1.1 200 X\r\nTransfer-Encoding: " + echo(r) + "\r\n\r\n" },
	}
	auths := map[string]Auth{
		"bearer": {Bearer: Static(token)},
		"basic":  {User: "u", Password: Static(password)},
	}
	hidden := []string{"5up3rs3cr3t", base64.StdEncoding.EncodeToString([]byte("u:" + password))}
	for name, answer := range answers {
		for method, auth := range auths {
			c := newClient(t, Config{URL: raw(t, answer), Auth: auth, SecretHeaders: map[string]Secret{"X-Api-Key": Static(key)}})
			err := c.Handle(t.Context(), Request{})
			require.Error(t, err, name)
			for _, text := range everyText(err) {
				for _, secret := range hidden {
					require.NotContains(t, text, secret, "%s, %s", name, method)
				}
			}
		}
	}
}

// everyText prints an error in every way, and every error inside it.
func everyText(err error) []string {
	var out []string
	for ; err != nil; err = errors.Unwrap(err) {
		out = append(out, err.Error(), fmt.Sprintf("%v %+v %#v %q", err, err, err, err))
	}
	return out
}

func TestUnreadableSecretKeepsMessagesWaiting(t *testing.T) {
	t.Parallel()
	s := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("called without its credentials") })
	cause := errors.New("file is gone")
	for name, tc := range map[string]struct {
		value string
		err   error
		want  string
	}{
		"error":     {"", cause, "cannot read the bearer token: file is gone"},
		"empty":     {"\n", nil, "the bearer token is empty"},
		"injection": {"a\r\nX-Evil: 1", nil, "the bearer token contains characters that an HTTP header cannot carry"},
	} {
		ok := true
		secret := func() (string, error) {
			if ok {
				return "fine", nil
			}
			return tc.value, tc.err
		}
		c := newClient(t, Config{URL: s.URL, Auth: Auth{Bearer: secret}})
		ok = false
		err := c.Handle(t.Context(), Request{})
		require.EqualError(t, err, "http handler: "+tc.want, name)
		require.Equal(t, "transient", kind(err), name)
		_, err = New(Config{URL: s.URL, Auth: Auth{Bearer: secret}})
		require.ErrorContains(t, err, tc.want, name)
	}
}

func TestRotatedSecretIsUsedAtOnce(t *testing.T) {
	t.Parallel()
	var got []string
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) { got = append(got, r.Header.Get("Authorization")) })
	token := "old"
	c := newClient(t, Config{URL: s.URL, Auth: Auth{Bearer: func() (string, error) { return token, nil }}})
	require.NoError(t, c.Handle(t.Context(), Request{}))
	token = "new"
	require.NoError(t, c.Handle(t.Context(), Request{}))
	require.Equal(t, []string{"Bearer old", "Bearer new"}, got)
}
