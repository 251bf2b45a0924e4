package httphandler

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

// newTransport returns the transport of one endpoint.
func newTransport(cfg Config, u *url.URL) (*http.Transport, error) {
	tlsConfig, tlsErr := newTLS(cfg.TLS)
	proxy, proxyErr := http.ProxyFromEnvironment(&http.Request{URL: u})
	if proxyErr != nil {
		// The text of the error repeats the proxy's address, with its password.
		proxyErr = errors.New("HTTP_PROXY or HTTPS_PROXY is not a valid address")
	}
	if err := errors.Join(tlsErr, proxyErr); err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: min(cfg.Timeout, 10*time.Second), KeepAlive: 15 * time.Second}
	return &http.Transport{
		Proxy:                  http.ProxyURL(proxy),
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		TLSClientConfig:        tlsConfig,
		TLSHandshakeTimeout:    min(cfg.Timeout, 10*time.Second),
		MaxConnsPerHost:        cfg.MaxConns,
		MaxIdleConns:           cfg.MaxIdleConns,
		MaxIdleConnsPerHost:    cfg.MaxIdleConns,
		IdleConnTimeout:        cfg.IdleTimeout,
		MaxResponseHeaderBytes: maxResponseHeader,
		// A compressed answer could unfold without end, and nothing here is long
		// enough to gain from it.
		DisableCompression: true,
	}, nil
}

func newTLS(cfg TLS) (*tls.Config, error) {
	out := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: cfg.ServerName}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("tls: ca_file: %w", err)
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls: ca_file: %s holds no certificate in PEM", cfg.CAFile)
		}
	}
	if cfg.CertFile == "" {
		return out, nil
	}
	load := func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("tls: cert_file and key_file: %w", err)
		}
		return &pair, nil
	}
	if _, err := load(); err != nil {
		return nil, err
	}
	out.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	return out, nil
}
