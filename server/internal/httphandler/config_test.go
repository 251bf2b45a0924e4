package httphandler

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDefaults(t *testing.T) {
	t.Parallel()
	in := Config{URL: "http://localhost", MaxConns: 7}
	got := in.WithDefaults()
	require.Equal(t, 30*time.Second, got.Timeout)
	require.Equal(t, 2*time.Second, got.BodyTimeout)
	require.Equal(t, 4*time.Second, got.IdleTimeout)
	require.Equal(t, 7, got.MaxConns)
	require.Equal(t, 7, got.MaxIdleConns)
	require.Equal(t, 8192, got.MaxHeaderBytes)
	require.NotNil(t, got.Now)
	require.Nil(t, in.Now)
	require.Equal(t, 64, Config{}.WithDefaults().MaxConns)
}

func TestValidateListsEveryProblem(t *testing.T) {
	t.Parallel()
	cfg := Config{
		URL: "ftp://user:hunter2@/x#frag", Timeout: -1, BodyTimeout: -1, IdleTimeout: -1,
		MaxConns: -1, MaxIdleConns: -1, MaxHeaderBytes: -1,
		Headers:       map[string]string{"a b": "x", "Authorization": "hunter2", "Redrive-Attempt": "1", "X-A": "a\nhunter2", "content_length": "1"},
		SecretHeaders: map[string]Secret{"x-a": Static("hunter2"), "X-B": nil},
		Auth:          Auth{Bearer: Static("hunter2"), User: "a:b"},
		Signing:       []Secret{nil},
		TLS:           TLS{CertFile: "c"},
		Statuses:      map[string]string{"4x": "done", "600": "done", "099": "done", "404": "ignore", "5XX": "done", "4xx": "crash", "500": "schema"},
	}
	err := cfg.Validate()
	var got []string
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		got = append(got, e.Error())
	}
	require.Equal(t, []string{
		"url: does not begin with http:// or https://",
		"url: names no host",
		"url: contains credentials; put them under auth",
		"url: contains a fragment, which HTTP does not send; remove the part from # on",
		"timeout: -1ns is negative; give a positive duration, or leave it out for the default",
		"body_timeout: -1ns is negative; give a positive duration, or leave it out for the default",
		"idle_timeout: -1ns is negative; give a positive duration, or leave it out for the default",
		"max_conns: -1 is negative; give a positive number, or leave it out for the default",
		"max_idle_conns: -1 is negative; give a positive number, or leave it out for the default",
		"max_header_bytes: -1 is negative; give a positive number, or leave it out for the default",
		"headers: Authorization is set by auth; give the credentials there",
		`headers: "Redrive-Attempt" is set by redrive or by HTTP itself; choose another name`,
		`headers: the value of "X-A" is not plain ASCII, or begins or ends with a space`,
		`headers: "a b" is not a valid header name`,
		`headers: "content_length" is set by redrive or by HTTP itself; choose another name`,
		`secret_headers: "X-B" has no value`,
		`secret_headers: "x-a" is given twice`,
		"auth: bearer and basic are both given; choose one",
		"auth: basic needs a user and a password",
		"auth: the user of basic must not contain a colon",
		"signing: secret 1 has no value",
		"tls: cert_file and key_file go together; one of them is missing",
		`statuses: "099" is not a status; give one such as "409", or a class such as "4xx"`,
		`statuses: "404" has the unknown category "ignore"; want one of done, transient, transient-local, throttled, schema, business, integration, quarantine`,
		`statuses: "4x" is not a status; give one such as "409", or a class such as "4xx"`,
		`statuses: "4xx" has the unknown category "crash"; want one of done, transient, transient-local, throttled, schema, business, integration, quarantine`,
		`statuses: "5XX" is not a status; give one such as "409", or a class such as "4xx"`,
		`statuses: "600" is not a status; give one such as "409", or a class such as "4xx"`,
	}, got)
	require.NotContains(t, err.Error(), "hunter2")
	_, newErr := New(cfg)
	require.ErrorContains(t, newErr, err.Error())
}

func TestValidateURL(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"":                        "url: is missing",
		"http://h:hunter2:x/":     "url: is not a valid URL",
		"http://u:hunter2@h\x7f/": "url: is not a valid URL",
		"localhost:8080":          "url: does not begin with http",
		"/hunter2":                "url: does not begin with http",
		"http://:80/":             "url: names no host",
	} {
		err := Config{URL: url}.Validate()
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "hunter2")
	}
	for _, url := range []string{"http://localhost", "https://[::1]:8443/a?b=c", "http://127.0.0.1:8080/orders"} {
		require.NoError(t, Config{URL: url}.Validate())
	}
	require.ErrorContains(t, Config{URL: "http://h", TLS: TLS{ServerName: "x"}}.Validate(), "tls: is set, but the url is not https")
}

func TestNewListsEveryProblemOfSecretsAndFiles(t *testing.T) {
	t.Parallel()
	gone := func() (string, error) { return "", errors.New("gone") }
	_, err := New(Config{URL: "https://h", Auth: Auth{Bearer: gone}, Signing: []Secret{gone}, TLS: TLS{CAFile: "/nowhere"}})
	for _, want := range []string{"cannot read the bearer token: gone", "cannot read signing secret 1: gone", "tls: ca_file: "} {
		require.ErrorContains(t, err, want)
	}
	require.Equal(t, 3, strings.Count(err.Error(), "\n")+1)
}
