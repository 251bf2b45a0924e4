package httphandler

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Config says where messages go and how.
type Config struct {
	// URL is the endpoint, http or https. It must not contain credentials.
	URL string
	// Timeout bounds one request, from the dial to the end of the answer.
	// Default: 30 s.
	Timeout time.Duration
	// BodyTimeout bounds the reading of the answer's body once its status is
	// known. What has come by then is used.
	// Default: 2 s.
	BodyTimeout time.Duration
	// MaxConns bounds the requests under way at one time, and with that the
	// connections. Waiting for a free one does not count towards Timeout.
	// Default: 64.
	MaxConns int
	// MaxIdleConns bounds the connections that are kept for the next request.
	// Default: MaxConns.
	MaxIdleConns int
	// IdleTimeout closes a connection that was not used for this long. Keep it
	// below the endpoint's own limit, or requests meet connections that are being
	// closed; the default is below the 5 s of Node.js.
	// Default: 4 s.
	IdleTimeout time.Duration
	// MaxHeaderBytes bounds the producer's headers in one request, in bytes.
	// Default: 8192.
	MaxHeaderBytes int
	// Headers are sent with every request. They are not secret.
	// Default: none.
	Headers map[string]string
	// SecretHeaders are sent with every request, for endpoints that want their
	// token in a header such as X-Api-Key.
	// Default: none.
	SecretHeaders map[string]Secret
	// Auth is how requests authenticate.
	// Default: not at all.
	Auth Auth
	// Signing are the secrets of the Standard Webhooks signature, "whsec_" and
	// base64 of at least 24 bytes. With several, each signs.
	// Default: no signature.
	Signing []Secret
	// TLS is for endpoints with a certificate of your own, or that want one.
	TLS TLS
	// Statuses replaces what a status means. A key is a status such as "409" or a
	// class such as "4xx"; a status wins over its class. A value is one of done,
	// transient, transient-local, throttled, schema, business, integration and
	// quarantine. transient-local is transient, and not counted by the breaker.
	// Default: none.
	Statuses map[string]string
	// Now is the clock for dates in Retry-After and for signatures.
	// Default: time.Now.
	Now func() time.Time
}

// Auth is how a request authenticates: with a bearer token, or with a user and a
// password, or not at all.
type Auth struct {
	// Bearer is the token of "Authorization: Bearer".
	// Default: none.
	Bearer Secret
	// User and Password make "Authorization: Basic".
	// Default: none.
	User     string
	Password Secret
}

// TLS names the files that secure the connection, in PEM. They need an https URL.
type TLS struct {
	// CAFile holds the authorities that the endpoint's certificate must come from.
	// Default: those of the system.
	CAFile string
	// CertFile and KeyFile are shown to the endpoint. They are read again for each
	// new connection, so that a renewed certificate is used.
	// Default: none.
	CertFile, KeyFile string
	// ServerName is the name that the endpoint's certificate must carry.
	// Default: the host of the URL.
	ServerName string
}

// WithDefaults returns a copy with the defaults filled in.
func (c Config) WithDefaults() Config {
	setDefault(&c.Timeout, 30*time.Second)
	setDefault(&c.BodyTimeout, 2*time.Second)
	setDefault(&c.MaxConns, 64)
	setDefault(&c.MaxIdleConns, c.MaxConns)
	setDefault(&c.IdleTimeout, 4*time.Second)
	setDefault(&c.MaxHeaderBytes, 8192)
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Validate returns every problem, joined, or nil. It reads no secret and no file.
func (c Config) Validate() error {
	problems := slices.Concat(c.checkURL(), c.checkLimits(), c.checkHeaders(), c.checkAuth(), c.checkStatuses())
	return errors.Join(problems...)
}

// checkURL never repeats the URL, which may hold what should not be printed.
func (c Config) checkURL() []error {
	if c.URL == "" {
		return []error{errors.New("url: is missing; give the address of the endpoint, such as http://127.0.0.1:8080/orders")}
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		return []error{errors.New("url: is not a valid URL; give one such as http://127.0.0.1:8080/orders")}
	}
	var problems []error
	if u.Scheme != "http" && u.Scheme != "https" {
		problems = append(problems, errors.New("url: does not begin with http:// or https://"))
	}
	if u.Hostname() == "" {
		problems = append(problems, errors.New("url: names no host"))
	}
	if u.User != nil {
		problems = append(problems, errors.New("url: contains credentials; put them under auth"))
	}
	if u.Fragment != "" {
		problems = append(problems, errors.New("url: contains a fragment, which HTTP does not send; remove the part from # on"))
	}
	if u.Scheme == "http" && c.TLS != (TLS{}) {
		problems = append(problems, errors.New("tls: is set, but the url is not https"))
	}
	return problems
}

func (c Config) checkLimits() []error {
	var problems []error
	durations := []struct {
		name  string
		value time.Duration
	}{{"timeout", c.Timeout}, {"body_timeout", c.BodyTimeout}, {"idle_timeout", c.IdleTimeout}}
	for _, d := range durations {
		if d.value < 0 {
			problems = append(problems, fmt.Errorf("%s: %s is negative; give a positive duration, or leave it out for the default", d.name, d.value))
		}
	}
	counts := []struct {
		name  string
		value int
	}{{"max_conns", c.MaxConns}, {"max_idle_conns", c.MaxIdleConns}, {"max_header_bytes", c.MaxHeaderBytes}}
	for _, n := range counts {
		if n.value < 0 {
			problems = append(problems, fmt.Errorf("%s: %d is negative; give a positive number, or leave it out for the default", n.name, n.value))
		}
	}
	return problems
}

func (c Config) checkHeaders() []error {
	var problems []error
	seen := map[string]bool{}
	check := func(field, name string) {
		switch key := http.CanonicalHeaderKey(name); {
		case !validName(name):
			problems = append(problems, fmt.Errorf("%s: %q is not a valid header name", field, name))
		case seen[key]:
			problems = append(problems, fmt.Errorf("%s: %q is given twice", field, name))
		case key == "Authorization":
			problems = append(problems, fmt.Errorf("%s: Authorization is set by auth; give the credentials there", field))
		case setByUs(name):
			problems = append(problems, fmt.Errorf("%s: %q is set by redrive or by HTTP itself; choose another name", field, name))
		default:
			seen[key] = true
		}
	}
	for _, name := range sortedKeys(c.Headers) {
		check("headers", name)
		if v := c.Headers[name]; !validValue(v) {
			problems = append(problems, fmt.Errorf("headers: the value of %q is not plain ASCII, or begins or ends with a space", name))
		}
	}
	for _, name := range sortedKeys(c.SecretHeaders) {
		check("secret_headers", name)
		if c.SecretHeaders[name] == nil {
			problems = append(problems, fmt.Errorf("secret_headers: %q has no value", name))
		}
	}
	return problems
}

func (c Config) checkAuth() []error {
	var problems []error
	basic := c.Auth.User != "" || c.Auth.Password != nil
	if basic && c.Auth.Bearer != nil {
		problems = append(problems, errors.New("auth: bearer and basic are both given; choose one"))
	}
	if basic && (c.Auth.User == "" || c.Auth.Password == nil) {
		problems = append(problems, errors.New("auth: basic needs a user and a password"))
	}
	if strings.Contains(c.Auth.User, ":") {
		problems = append(problems, errors.New("auth: the user of basic must not contain a colon"))
	}
	for i, s := range c.Signing {
		if s == nil {
			problems = append(problems, fmt.Errorf("signing: secret %d has no value", i+1))
		}
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		problems = append(problems, errors.New("tls: cert_file and key_file go together; one of them is missing"))
	}
	return problems
}

func (c Config) checkStatuses() []error {
	var problems []error
	for _, key := range sortedKeys(c.Statuses) {
		if !validStatusKey(key) {
			problems = append(problems, fmt.Errorf("statuses: %q is not a status; give one such as \"409\", or a class such as \"4xx\"", key))
		}
		if name := c.Statuses[key]; !slices.Contains(verdictNames(), name) {
			problems = append(problems, fmt.Errorf("statuses: %q has the unknown category %q; want one of %s", key, name, strings.Join(verdictNames(), ", ")))
		}
	}
	return problems
}

func validStatusKey(key string) bool {
	if len(key) != 3 || key[0] < '1' || key[0] > '5' {
		return false
	}
	digit := func(b byte) bool { return '0' <= b && b <= '9' }
	return key[1:] == "xx" || digit(key[1]) && digit(key[2])
}

// origin is the part of a URL that may be shown: paths and queries hold tokens
// often enough. Host is without the credentials.
func origin(u *url.URL) string {
	return u.Scheme + "://" + u.Host
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
