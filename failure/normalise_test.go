package failure_test

import (
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/failure"
)

func TestNormaliseForms(t *testing.T) {
	tests := []struct{ message, want string }{
		// Go.
		{"dial tcp 10.0.3.17:5432: connect: connection refused", "dial tcp <ip>: connect: connection refused"},
		{"read tcp 10.0.0.1:44312->10.0.0.2:5432: read: connection reset by peer", "read tcp <ip>-><ip>: read: connection reset by peer"},
		{"dial tcp [2001:db8::1]:443: i/o timeout", "dial tcp [<ip>]:<n>: i/o timeout"},
		{"dial tcp [::1]:443: i/o timeout", "dial tcp [<ip>]:<n>: i/o timeout"},
		{"lookup db-7.internal on fe80::1%eth0: no such host", "lookup db-<n>.internal on <ip>: no such host"},
		{`Post "https://api.acme.io:8443/v1/charges?id=77": context deadline exceeded`, `Post <q>: context deadline exceeded`},
		{"open /var/lib/orders/2024/01/x.json: no such file or directory", "open <path>: no such file or directory"},
		{"order 81723 took 1m30.5s, limit 30s", "order <n> took <dur>, limit <dur>"},
		{"strconv.Atoi: parsing \"12x\": invalid syntax", "strconv.Atoi: parsing <q>: invalid syntax"},
		{"json: cannot unmarshal string into Go struct field Order.total of type int64", "json: cannot unmarshal string into Go struct field Order.total of type int64"},
		{"invalid character '}' after object key", "invalid character <q> after object key"},
		{"panic: runtime error: index out of range [5] with length 3", "panic: runtime error: index out of range [<n>] with length <n>"},
		{"main.go:123: unexpected status: 503", "main.go:<n>: unexpected status: 503"},
		{"exit status 137", "exit status 137"},
		{"proto: wire type 0xc000123abc at offset 1,234,567", "proto: wire type <id> at offset <n>"},
		// Java and .NET.
		{"java.lang.NullPointerException: Cannot invoke \"com.acme.Order.total()\" because \"<local4>\" is null", "java.lang.NullPointerException: Cannot invoke <q> because <q> is null"},
		{"com.acme.OrderEvent@5e9f23b4 cannot be cast to com.acme.Refund", "com.acme.OrderEvent@<id> cannot be cast to com.acme.Refund"},
		{"at com.acme.Orders.handle(Orders.java:212)", "at com.acme.Orders.handle(Orders.java:<n>)"},
		{"ORA-00942: table or view does not exist", "ORA-00942: table or view does not exist"},
		{"Timeout expired. Error: 0x80131904, client 3f2504e0-4f89-11d3-9a0c-0305e82c3301", "Timeout expired. Error: <id>, client <id>"},
		{`Could not find file 'C:\data\in\0001.xml'.`, `Could not find file <q>.`},
		{`Access to C:\data\in\0001.xml denied`, `Access to <path> denied`},
		// Python and Node.
		{`File "/srv/app/handlers.py", line 42, in handle`, `File <q>, line <n>, in handle`},
		{"KeyError: 'customer_id'", "KeyError: <q>"},
		{"<Order object at 0x7f3a5c2b1d90> has no attribute `total`", "<Order object at <id>> has no attribute <q>"},
		{"connect ECONNREFUSED 127.0.0.1:6379", "connect ECONNREFUSED <ip>"},
		{"Cannot read properties of undefined (reading 'id')", "Cannot read properties of undefined (reading <q>)"},
		// Databases.
		{`ERROR: duplicate key value violates unique constraint "orders_pkey" (SQLSTATE 23505)`, `ERROR: duplicate key value violates unique constraint <q> (SQLSTATE 23505)`},
		{"Key (id)=(991823) already exists.", "Key (id)=(<n>) already exists."},
		{"deadlock detected: process 2213 waits for ShareLock on transaction 88123 (SQLSTATE 40P01)", "deadlock detected: process <n> waits for ShareLock on transaction <n> (SQLSTATE 40P01)"},
		{"Error 1062 (23000): Duplicate entry '17-a' for key 'PRIMARY'", "Error <n> (<n>): Duplicate entry <q> for key <q>"},
		// HTTP, times and tokens.
		{"GET https://user:pw@api.acme.io:8443/v1/orders/77?full=1 returned HTTP 502", "GET https://api.acme.io returned HTTP 502"},
		{"fetch http://10.1.2.3:8080/x failed", "fetch http://<ip> failed"},
		{"fetch s3://orders-2024/in/1.json failed", "fetch s3://orders-<n> failed"},
		{"token eyJhbGciOiJIUzI1NiJ9x.eyJzdWIiOiIxMjM0NTY3ODkwIn0 expired at 2024-01-05T12:00:00.123Z", "token <id>.<id> expired at <time>"},
		{"expired at 2024-01-05 12:00:00+02:00", "expired at <time>"},
		{"not after Fri, 05 Jan 2024 12:00:00 GMT", "not after <time>, <n> <time> <n> <time> GMT"},
		{"mail to jane.doe+x@example.co.uk bounced", "mail to <email> bounced"},
		{"customer cus_NffrFeUfNV2Hib, intent pi_3MtwBwLkdIwHu7ix28a3tqPa", "customer cus_<id>, intent pi_<id>"},
		{"pod orders-7d9f8b6c5-x2k9z on worker12", "pod orders-<id>-<id> on worker<n>"},
		{"partitions [1, 2, 3] lost", "partitions [<n>] lost"},
		{"expected -5, got +7.25e-3", "expected <n>, got <n>"},
		{"sha256 mismatch for utf8 text on k8s", "sha256 mismatch for utf8 text on k8s"},
		{"can't decode 'x' because it isn't JSON", "can't decode <q> because it isn't JSON"},
		{"can’t decode “x y”", "can't decode <q>"},
		{"  two\r\n\tlines  ", "two lines"},
		{"第5回の試行 failed", "第<n>回の試行 failed"},
		{"bad bytes \xff\xfe here", "bad bytes \uFFFD here"},
		{"<n> items, <time>", "<n> items, <time>"},
		{"", ""},
	}
	for _, test := range tests {
		if got := failure.Normalise(test.message); got != test.want {
			t.Errorf("Normalise(%q)\n got %q\nwant %q", test.message, got, test.want)
		}
	}
}

func checkNormal(t interface {
	Helper()
	Fatalf(string, ...any)
}, message string,
) {
	t.Helper()
	once := failure.Normalise(message)
	if len(once) > failure.MaxNormal {
		t.Fatalf("Normalise(%q) has %d bytes, more than %d", message, len(once), failure.MaxNormal)
	}
	if !utf8.ValidString(once) {
		t.Fatalf("Normalise(%q) = %q, which is not valid UTF-8", message, once)
	}
	if twice := failure.Normalise(once); twice != once {
		t.Fatalf("not idempotent:\nmessage %q\n   once %q\n  twice %q", message, once, twice)
	}
	if strings.TrimSpace(once) != once || strings.Contains(once, "  ") {
		t.Fatalf("Normalise(%q) = %q, which has white space to remove", message, once)
	}
}

// fragments are the parts at whose joints a scanner goes wrong.
func fragments() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom([]string{
			"<n>", "<id>", "<time>", "<q>", "<path>", "<", ">", "<n", "n>", `"`, "'", "`", `\`, `\"`, "’", "“", "”", "\u00a0", "é", "日本", "\xff",
			" ", "  ", "\n", ",", ", ", ";", ":", "::", "=", "==", "-", "_", "+", "%", ".", "..", "...", "/", "//", "(", ")", "[", "]", "{", "|", "@", "#", "?", "!",
			"http://", "s3://", "user:pw@", "a.b.c", "x@y.z", "a@", "@b.c", "C:\\", "C:/", "./", "../", "~/", `\\`, "0x", "1e", "e-5",
			"Jan", "Fri", "May", "Mon, ", "GMT", "T", "Z", "2024-01-05", "12:00", "12:00:00", "05/01/2024", "20240105T120000Z", "10.0.0.1", ":80", "fe80", "aa:bb:cc:dd:ee:ff", "1.5s", "30s", "ms", "µs",
			"status", "code", "error", "exit", "http", "SQLSTATE", "ORA", "errno", "503", "23505", "40P01",
			"utf8", "sha256", "h2", "x509", "abcdefab-abcd-abcd-abcd-abcdefabcdef", "550e8400-e29b-41d4-a716-446655440000", "deadbeef", "abcdef1", "NffrFeUfNV2Hib",
		}),
		rapid.StringMatching(`[0-9]{1,5}`),
		rapid.StringMatching(`[a-f]{1,12}`),
		rapid.StringMatching(`[A-Za-z]{1,6}`),
		rapid.StringMatching(`[A-Za-z0-9_-]{1,30}`),
		rapid.StringMatching(`[a-zé]{60,140}`),
		rapid.String(),
	)
}

func TestNormaliseIsItsOwnNormalForm(t *testing.T) {
	rounds := 10
	if os.Getenv("REDRIVE_FULL") == "1" {
		rounds = 10_000
	}
	for range rounds {
		rapid.Check(t, func(t *rapid.T) {
			parts := rapid.SliceOfN(fragments(), 0, 30).Draw(t, "parts")
			checkNormal(t, strings.Join(parts, ""))
		})
	}
}

// Each of these is read in another way once a part of it is a placeholder,
// unless the scanner takes care.
func TestNormaliseJoints(t *testing.T) {
	tests := []struct{ message, want string }{
		{"0aa:bb:cc:dd:ee:ff", "<n>aa:bb:cc:dd:ee:ff"},
		{"aa:bb:cc:dd:ee:ff:80<n>", "aa:bb:cc:dd:ee:ff:<n><n>"},
		{"aa:bb:cc:dd:ee:ffz1", "aa:bb:cc:dd:ee:ffz<n>"},
		{"aa:bb:cc:dd:ee:ff.0", "<id>.<n>"},
		{"abcdefab-abcd-abcd-abcd-abcdefabcdef1xyzxyz", "abcdefab-abcd-abcd-abcd-abcdefabcdef<n>xyzxyz"},
		{"Mon, Jan0", "Mon, Jan<n>"},
		{"12/abc", "<n>/abc"},
		{`say "a \"b\" c" twice`, "say <q> twice"},
		{`C:\" 'x`, `C:\" 'x`},
		{`see C:\dir\" and "y`, `see <path>\" and "y`},
		{"12'ab'", "<n>'ab'"},
		{"status -503", "status 503"},
	}
	for _, test := range tests {
		if got := failure.Normalise(test.message); got != test.want {
			t.Errorf("Normalise(%q)\n got %q\nwant %q", test.message, got, test.want)
		}
		checkNormal(t, test.message)
	}
}

// Forms that were cut keep the same law: each input is longer than the room.
func TestNormaliseCuts(t *testing.T) {
	for _, part := range []string{"a", "é", "日本", "abc ", "a-", "a,", "12 x ", "é1", "'", "http://a.b/c ", "abcdefab-abcd-abcd-abcd-abcdefabcdef<n>", "x=1;", "-aa:bb:cc:dd:ee:ff<n>", "é-aa:bb:cc:dd:ee:ff<time>", "\\", "status 503 "} {
		for shift := range 40 {
			checkNormal(t, strings.Repeat("z", shift)+" "+strings.Repeat(part, 4096/len(part)))
			checkNormal(t, strings.Repeat("y", shift)+strings.Repeat(part, 700))
		}
	}
}

func FuzzNormalise(f *testing.F) {
	for _, seed := range []string{
		"", "dial tcp 10.0.3.17:5432: connect: connection refused", "a 'b\" `c", "http://u:p@h1.x:80/y?z", "C:\\x\\\"y\"",
		"status code: 503, SQLSTATE 40P01, ORA-00942", "Fri Jan  5 12:00:00.1+02:00 2024", "fe80::1%eth0 aa:bb:cc:dd:ee:ff",
		"1e-5 1.5s 1,2,3 0x1f <n>, 7 <id><q>", strings.Repeat("é1", 700), strings.Repeat("a-", 600), "x@y.zz\x00\xff“”",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, message string) { checkNormal(t, message) })
}
