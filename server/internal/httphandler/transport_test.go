package httphandler

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func serverTLS(t *testing.T, a *authority, names ...string) *tls.Config {
	t.Helper()
	cert, key := a.issue(t, 2, names...)
	pair, err := tls.LoadX509KeyPair(cert, key)
	require.NoError(t, err)
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
}

func TestOwnAuthority(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	var proto string
	s := serveTLS(t, serverTLS(t, a, "127.0.0.1"), func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		proto = r.Proto
		if r.Header.Get("Idempotency-Key") != "k" || string(body) != "b" {
			w.WriteHeader(http.StatusTeapot)
		}
	})
	c := newClient(t, Config{URL: s.URL, TLS: TLS{CAFile: a.file}})
	require.NoError(t, c.Handle(t.Context(), Request{IdempotencyKey: "k", Body: []byte("b")}))
	require.Equal(t, "HTTP/2.0", proto)
}

func TestUntrustedCertificatesAreRefused(t *testing.T) {
	t.Parallel()
	a, other := newAuthority(t), newAuthority(t)
	called := func(http.ResponseWriter, *http.Request) { t.Error("the request was sent") }
	wrongHost := serveTLS(t, serverTLS(t, a, "elsewhere.example"), called)
	rightHost := serveTLS(t, serverTLS(t, a, "127.0.0.1"), called)

	err := newClient(t, Config{URL: wrongHost.URL, TLS: TLS{CAFile: a.file}}).Handle(t.Context(), Request{})
	require.Equal(t, "transient", kind(err))
	var host x509.HostnameError
	require.ErrorAs(t, err, &host)

	var unknown x509.UnknownAuthorityError
	err = newClient(t, Config{URL: rightHost.URL}).Handle(t.Context(), Request{})
	require.ErrorAs(t, err, &unknown)
	err = newClient(t, Config{URL: rightHost.URL, TLS: TLS{CAFile: other.file}}).Handle(t.Context(), Request{})
	require.ErrorAs(t, err, &unknown)
	err = newClient(t, Config{URL: rightHost.URL, TLS: TLS{CAFile: a.file, ServerName: "wrong.example"}}).Handle(t.Context(), Request{})
	require.ErrorAs(t, err, &host)
}

func TestServerName(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	s := serveTLS(t, serverTLS(t, a, "elsewhere.example"), func(http.ResponseWriter, *http.Request) {})
	c := newClient(t, Config{URL: s.URL, TLS: TLS{CAFile: a.file, ServerName: "elsewhere.example"}})
	require.NoError(t, c.Handle(t.Context(), Request{}))
}

func TestClientCertificate(t *testing.T) {
	t.Parallel()
	a, other := newAuthority(t), newAuthority(t)
	cfg := serverTLS(t, a, "127.0.0.1")
	cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, a.pool
	var serials []int64
	s := serveTLS(t, cfg, func(_ http.ResponseWriter, r *http.Request) {
		serials = append(serials, r.TLS.PeerCertificates[0].SerialNumber.Int64())
	})
	cert, key := a.issue(t, 7)
	c := newClient(t, Config{URL: s.URL, TLS: TLS{CAFile: a.file, CertFile: cert, KeyFile: key}})
	require.NoError(t, c.Handle(t.Context(), Request{}))
	// A renewed certificate is used by the next connection.
	a.issueTo(t, cert, key, 8)
	c.transport.CloseIdleConnections()
	require.NoError(t, c.Handle(t.Context(), Request{}))
	require.Equal(t, []int64{7, 8}, serials)

	err := newClient(t, Config{URL: s.URL, TLS: TLS{CAFile: a.file}}).Handle(t.Context(), Request{})
	require.Equal(t, "transient", kind(err))
	cert, key = other.issue(t, 9)
	err = newClient(t, Config{URL: s.URL, TLS: TLS{CAFile: a.file, CertFile: cert, KeyFile: key}}).Handle(t.Context(), Request{})
	require.Equal(t, "transient", kind(err))
	require.Len(t, serials, 2)
}

func TestWrongFiles(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	cert, _ := a.issue(t, 1)
	_, otherKey := a.issue(t, 2)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	require.NoError(t, os.WriteFile(empty, []byte("nothing"), 0o600))
	for want, cfg := range map[string]TLS{
		"tls: ca_file: open ":                {CAFile: "/nowhere/ca.pem"},
		"holds no certificate in PEM":        {CAFile: empty},
		"private key does not match":         {CertFile: cert, KeyFile: otherKey},
		"tls: cert_file and key_file: open ": {CertFile: "/nowhere/c.pem", KeyFile: "/nowhere/k.pem"},
	} {
		_, err := New(Config{URL: "https://localhost", TLS: cfg})
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "PRIVATE")
	}
}
