package config

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// http checks an endpoint. path is the one of the subscription.
func (k *checker) http(h HTTP, p Policy, path string) {
	at := func(key string) string { return path + ".handler.http." + key }
	if h.Timeout > p.HandlerTimeout {
		k.broken(at("timeout"), fmt.Sprintf("%v is above handler_timeout, which is %v", h.Timeout, p.HandlerTimeout), "lower it, or raise handler_timeout", path+".handler_timeout")
	}
	k.tls(h.TLS, at("tls"))
	if h.URL != "" {
		if u := k.url(h.URL, at("url"), "http", "https"); u != nil {
			k.endpoint(h, u, at)
		}
	}
	status := regexp.MustCompile(`^[1-5](xx|[0-9][0-9])$`)
	for _, key := range slices.Sorted(maps.Keys(h.Statuses)) {
		if !status.MatchString(key) {
			k.broken(keyPath(at("statuses"), key), quoted(key)+" is not a status", `write one such as "409", or a hundred such as "5xx"`)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(h.Headers)) {
		k.header(name, h.Headers[name], keyPath(at("headers"), name))
		if credentialHeader(name) {
			k.broken(keyPath(at("headers"), name), "a header that holds a credential is not written here in plain text", "move it to auth or secret_headers")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(h.SecretHeaders)) {
		inner := keyPath(at("secret_headers"), name)
		k.header(name, "", inner)
		for other := range h.Headers {
			if strings.EqualFold(other, name) {
				k.broken(inner, "the header is in headers too", "remove one of them", keyPath(at("headers"), other))
			}
		}
		if h.Auth != nil && strings.EqualFold(name, "authorization") {
			k.broken(inner, "auth sends this header too", "remove one of them", at("auth"))
		}
	}
}

func (k *checker) endpoint(h HTTP, u *url.URL, at func(string) string) {
	if u.Fragment != "" {
		k.broken(at("url"), "a URL that receives requests has no fragment", "remove # and what follows")
	}
	if u.Scheme == "https" {
		return
	}
	if h.TLS != nil {
		k.broken(at("tls"), "tls has no effect on an http:// URL", "write https://, or remove tls", at("url"))
	}
	if (h.Auth != nil || len(h.SecretHeaders) > 0) && !loopback(u.Hostname()) {
		k.warn(at("url"), "credentials travel over http:// where others can read them", "write https://")
	}
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// header checks one header that is sent with every request.
func (k *checker) header(name, value, path string) {
	switch {
	case !headerName(name):
		k.broken(path, quoted(name)+" is not the name of a header", `use letters, digits and "-"`)
	case reservedHeader(name):
		k.broken(path, "redrive or the connection itself sets this header", "remove it")
	case strings.ContainsAny(value, "\r\n\x00"):
		k.broken(path, "the value holds a line break or NUL", "write it on one line")
	}
}

// headerName reports whether a name is a token as RFC 9110 section 5.6.2 has it.
func headerName(name string) bool {
	if name == "" || len(name) > 256 {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return true
}

func credentialHeader(name string) bool {
	switch strings.ToLower(name) {
	case "authorization", "cookie", "x-api-key", "x-auth-token":
		return true
	}
	return false
}

// reservedHeader names what is written by redrive, by net/http, or for one
// connection only (RFC 9110 section 7.6.1).
func reservedHeader(name string) bool {
	lower := strings.ToLower(name)
	switch lower {
	case "host", "content-length", "content-type", "idempotency-key", "connection", "keep-alive", "proxy-connection",
		"te", "trailer", "transfer-encoding", "upgrade", "proxy-authorization", "webhook-id", "webhook-timestamp", "webhook-signature":
		return true
	}
	return lower == "redrive" || strings.HasPrefix(lower, "redrive-")
}
