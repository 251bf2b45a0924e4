package app_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/server/app"
)

// secret must never be in an error or in a view of the configuration.
const secret = "hunter2hunter2"

// natsServer runs a server in this process.
func natsServer(t *testing.T, edit func(*server.Options)) *server.Server {
	t.Helper()
	o := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir()}
	edit(o)
	s, err := server.NewServer(o)
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	require.True(t, s.ReadyForConnections(10*time.Second))
	return s
}

// tryBroker connects with the settings of one broker, and uses the connection.
func tryBroker(t *testing.T, settings string) error {
	t.Helper()
	file := filepath.Join(t.TempDir(), "redrive.yaml")
	text := "version: 1\nbrokers: {prod: {type: nats, " + settings + "}}\nsubscriptions: [{source: orders, handler: {sink: discard}}]\n"
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	l, err := app.Load(app.LoadOptions{File: file})
	require.NoError(t, err)
	cfg := l.Config
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, err := app.Connect(ctx, cfg, "prod", app.ConnectOptions{})
	if err != nil {
		require.NotContains(t, err.Error(), secret)
		return err
	}
	defer func() { require.NoError(t, conn.Close(context.WithoutCancel(ctx))) }()
	return conn.Topology().Ensure(ctx, broker.Spec{Source: "orders"})
}

func TestNATSCredentials(t *testing.T) {
	t.Parallel()
	user, err := nkeys.CreateUser()
	require.NoError(t, err)
	public, err := user.PublicKey()
	require.NoError(t, err)
	seed, err := user.Seed()
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "user.nk")
	require.NoError(t, os.WriteFile(file, seed, 0o600))
	other, err := nkeys.CreateUser()
	require.NoError(t, err)
	otherSeed, err := other.Seed()
	require.NoError(t, err)
	otherFile := filepath.Join(t.TempDir(), "other.nk")
	require.NoError(t, os.WriteFile(otherFile, otherSeed, 0o600))

	for name, c := range map[string]struct {
		server     func(*server.Options)
		good, evil string
	}{
		"token": {
			func(o *server.Options) { o.Authorization = secret },
			"token: {value: " + secret + "}", "token: {value: " + secret + "-not}",
		},
		"user and password": {
			func(o *server.Options) { o.Username, o.Password = "redrive", secret },
			"user: redrive, password: {value: " + secret + "}", "user: redrive, password: {value: " + secret + "-not}",
		},
		"nkey": {
			func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: public}} },
			"nkey_file: " + file, "nkey_file: " + otherFile,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := natsServer(t, c.server)
			require.NoError(t, tryBroker(t, fmt.Sprintf("url: %q, %s", s.ClientURL(), c.good)))
			require.ErrorContains(t, tryBroker(t, fmt.Sprintf("url: %q, %s", s.ClientURL(), c.evil)), "Authorization Violation")
			require.ErrorContains(t, tryBroker(t, fmt.Sprintf("url: %q", s.ClientURL())), "Authorization Violation")
		})
	}
}

// TestNATSCredentialsFile: accounts and users of an operator, whose server knows
// the accounts from memory.
func TestNATSCredentialsFile(t *testing.T) {
	t.Parallel()
	operator, operatorKey := newKey(t, nkeys.CreateOperator)
	account, accountKey := newKey(t, nkeys.CreateAccount)
	user, userKey := newKey(t, nkeys.CreateUser)
	accountClaims := jwt.NewAccountClaims(accountKey)
	accountClaims.Limits.JetStreamLimits = jwt.JetStreamLimits{DiskStorage: -1, MemoryStorage: -1, Streams: -1, Consumer: -1}
	accountJWT, err := accountClaims.Encode(operator)
	require.NoError(t, err)
	system, systemKey := newKey(t, nkeys.CreateAccount)
	_ = system
	systemJWT, err := jwt.NewAccountClaims(systemKey).Encode(operator)
	require.NoError(t, err)
	resolver := &server.MemAccResolver{}
	require.NoError(t, resolver.Store(accountKey, accountJWT))
	require.NoError(t, resolver.Store(systemKey, systemJWT))
	operatorClaims := jwt.NewOperatorClaims(operatorKey)
	s := natsServer(t, func(o *server.Options) {
		o.TrustedOperators, o.AccountResolver, o.SystemAccount = []*jwt.OperatorClaims{operatorClaims}, resolver, systemKey
	})
	creds := func(claims *jwt.UserClaims, signer nkeys.KeyPair) string {
		token, err := claims.Encode(signer)
		require.NoError(t, err)
		seed, err := user.Seed()
		require.NoError(t, err)
		raw, err := jwt.FormatUserConfig(token, seed)
		require.NoError(t, err)
		file := filepath.Join(t.TempDir(), "user.creds")
		require.NoError(t, os.WriteFile(file, raw, 0o600))
		return file
	}
	good := creds(jwt.NewUserClaims(userKey), account)
	require.NoError(t, tryBroker(t, fmt.Sprintf("url: %q, creds_file: %q", s.ClientURL(), good)))

	expired := jwt.NewUserClaims(userKey)
	expired.Expires = time.Now().Add(-time.Hour).Unix()
	require.Error(t, tryBroker(t, fmt.Sprintf("url: %q, creds_file: %q", s.ClientURL(), creds(expired, account))))
	stranger, _ := newKey(t, nkeys.CreateAccount)
	require.ErrorContains(t, tryBroker(t, fmt.Sprintf("url: %q, creds_file: %q", s.ClientURL(), creds(jwt.NewUserClaims(userKey), stranger))), "Authorization Violation")
}

func newKey(t *testing.T, create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
	t.Helper()
	pair, err := create()
	require.NoError(t, err)
	public, err := pair.PublicKey()
	require.NoError(t, err)
	return pair, public
}

// authority signs certificates, and keeps them in files.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.sign("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// sign makes a certificate and its key, in <name>.pem and <name>.key.
func (a *authority) sign(name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.Subject = pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	require.NoError(a.t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(a.t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(a.t, err)
	for file, block := range map[string]*pem.Block{a.file(name + ".pem"): {Type: "CERTIFICATE", Bytes: der}, a.file(name + ".key"): {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		require.NoError(a.t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	}
	return cert, key
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) server(name string, clients bool, most uint16) func(*server.Options) {
	pair, err := tls.LoadX509KeyPair(a.file(name+".pem"), a.file(name+".key"))
	require.NoError(a.t, err)
	c := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS10, MaxVersion: most}
	if clients {
		c.ClientCAs, c.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		c.ClientCAs.AddCert(a.cert)
	}
	return func(o *server.Options) { o.TLS, o.TLSConfig, o.TLSTimeout = true, c, 5 }
}

func TestNATSOverTLS(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	ours.sign("here", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	ours.sign("elsewhere", &x509.Certificate{DNSNames: []string{"elsewhere.example"}})
	ours.sign("client", &x509.Certificate{})
	theirs.sign("client", &x509.Certificate{})
	ca := func(a *authority, more string) string {
		return fmt.Sprintf("tls: {ca_file: %q%s}", a.file("ca.pem"), more)
	}
	pair := func(a *authority) string {
		return fmt.Sprintf(", cert_file: %q, key_file: %q", a.file("client.pem"), a.file("client.key"))
	}
	for name, c := range map[string]struct {
		server   func(*server.Options)
		settings string
		refused  string
	}{
		"verified":                    {ours.server("here", false, 0), ca(ours, ""), ""},
		"signed by somebody else":     {ours.server("here", false, 0), ca(theirs, ""), "certificate signed by unknown authority"},
		"not trusted by the system":   {ours.server("here", false, 0), "tls: {}", "certificate"},
		"for another host":            {ours.server("elsewhere", false, 0), ca(ours, ""), "127.0.0.1"},
		"for the host that is named":  {ours.server("elsewhere", false, 0), ca(ours, ", server_name: elsewhere.example"), ""},
		"a client with a certificate": {ours.server("here", true, 0), ca(ours, pair(ours)), ""},
		"a client without one":        {ours.server("here", true, 0), ca(ours, ""), "certificate"},
		"a client with another's":     {ours.server("here", true, 0), ca(ours, pair(theirs)), "certificate"},
		"older than TLS 1.2":          {ours.server("here", false, tls.VersionTLS11), ca(ours, ""), "protocol version"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := natsServer(t, c.server)
			url := strings.Replace(s.ClientURL(), "nats://", "tls://", 1)
			err := tryBroker(t, fmt.Sprintf("url: %q, %s", url, c.settings))
			if c.refused == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.refused)
		})
	}
}
