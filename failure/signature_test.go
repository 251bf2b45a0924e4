package failure_test

import (
	"regexp"
	"testing"

	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/failure"
)

var signaturePattern = regexp.MustCompile(`^s1:[a-z2-7]{26}$`)

func signatureOf(message string) string {
	return failure.Signature(failure.SignatureInput{Source: "orders", Group: "billing", Category: failure.Transient, Type: "*x.Error", Message: message})
}

func TestSignatureGroups(t *testing.T) {
	same := [][2]string{
		{"dial tcp 10.0.3.17:5432: connect: connection refused", "dial tcp 10.9.1.2:6432: connect: connection refused"},
		{"read tcp 10.0.0.1:44312->10.0.0.2:5432: read: connection reset by peer", "read tcp 10.0.0.9:1->10.0.0.2:5432: read: connection reset by peer"},
		{`Post "https://api.acme.io/v1/charges/77": EOF`, `Post "https://api.acme.io/v1/charges/9": EOF`},
		{"open /tmp/a1.json: no such file or directory", "open /srv/x/y: no such file or directory"},
		{"open C:\\in\\1.xml: denied", "open D:/out/2.xml: denied"},
		{`java.lang.IllegalStateException: order 1f6d2c9a-77de-4b2e-9d53-0c5f4d9a8a11 is closed`, `java.lang.IllegalStateException: order 3f2504e0-4f89-11d3-9a0c-0305e82c3301 is closed`},
		{"com.acme.Order@5e9f23b4 is stale", "com.acme.Order@7c1d22a0 is stale"},
		{"System.InvalidOperationException: Sequence at row 17 contains no elements", "System.InvalidOperationException: Sequence at row 4 contains no elements"},
		{"KeyError: 'customer_id'", "KeyError: 'order_id'"},
		{"<Order object at 0x7f3a5c2b1d90> has no total", "<Order object at 0x7f3a5c2b2f00> has no total"},
		{"connect ETIMEDOUT 10.1.1.1:443", "connect ETIMEDOUT 10.1.1.2:8443"},
		{`ERROR: duplicate key value violates unique constraint "a" (SQLSTATE 23505)`, `ERROR: duplicate key value violates unique constraint "b" (SQLSTATE 23505)`},
		{"process 2213 waits for ShareLock on transaction 88123", "process 2 waits for ShareLock on transaction 9"},
		{"took 30.5s", "took 1m2s"},
		{"took 150ms", "took 15µs"},
		{"expired at 2024-01-05T12:00:00Z", "expired at 2025-11-30T01:59:59.123+02:00"},
		{"expired at Fri, 05 Jan 2024 12:00:00 GMT", "expired at Sat, 30 Nov 2025 01:00:00 GMT"},
		{"user jane@example.com unknown", "user bob.x@mail.example.org unknown"},
		{"pod orders-7d9f8b6c5-x2k9z evicted", "pod orders-66c4d8f7b9-q8w4r evicted"},
		{"worker12 lost", "worker3 lost"},
		{"partitions [1 2 3] lost", "partitions [7] lost"},
		{"charge ch_3MtwBwLkdIwHu7ix28a3tqPa failed", "charge ch_1NirD82eZvKYlo2CIvbtLWuY failed"},
		{"bad  line\n1", "bad line 22"},
	}
	for _, pair := range same {
		if signatureOf(pair[0]) != signatureOf(pair[1]) {
			t.Errorf("differ and should not:\n%q: %q\n%q: %q", pair[0], failure.Normalise(pair[0]), pair[1], failure.Normalise(pair[1]))
		}
	}
	differ := [][2]string{
		{"dial tcp 10.0.3.17:5432: connect: connection refused", "dial tcp 10.0.3.17:5432: i/o timeout"},
		{"unexpected status code 503", "unexpected status code 404"},
		{"server answered HTTP 500", "server answered HTTP 429"},
		{"exit status 1", "exit status 137"},
		{"insert failed (SQLSTATE 23505)", "insert failed (SQLSTATE 40001)"},
		{"ORA-00942: failed", "ORA-00001: failed"},
		{"GET https://billing.acme.io/x: EOF", "GET https://stock.acme.io/x: EOF"},
		{"cannot unmarshal number into int32", "cannot unmarshal number into int64"},
		{"java.lang.NullPointerException", "java.lang.IllegalStateException"},
		{"lookup db.internal: no such host", "lookup cache.internal: no such host"},
		{"order 7 is closed", "order 7 is open"},
		{"order is missing", "order <n> is missing"},
	}
	for _, pair := range differ {
		if signatureOf(pair[0]) == signatureOf(pair[1]) {
			t.Errorf("the same and should not be: %q, %q: %q", pair[0], pair[1], failure.Normalise(pair[0]))
		}
	}
}

// Signatures are stored. If this fails, failures lose their groups: raise
// SignatureVersion or undo the change.
func TestSignatureIsStable(t *testing.T) {
	got := failure.Signature(failure.SignatureInput{
		Source: "orders", Group: "billing", Category: failure.Crash, Type: "runtime.boundsError",
		Message: "panic: runtime error: index out of range [5] with length 3", Frame: "main.handle",
	})
	if want := "s1:c63myyrn6xrlksrxqx6zliizr4"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSignatureTellsFieldsApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gen := rapid.Custom(func(t *rapid.T) failure.SignatureInput {
			text := rapid.StringMatching(`[a-b]{0,2}`)
			return failure.SignatureInput{
				Source: text.Draw(t, "source"), Group: "g" + text.Draw(t, "group"), Category: failure.Category(rapid.IntRange(0, 5).Draw(t, "category")),
				Type: text.Draw(t, "type"), Message: text.Draw(t, "message"), Frame: text.Draw(t, "frame"),
			}
		})
		a, b := gen.Draw(t, "a"), gen.Draw(t, "b")
		if (a == b) != (failure.Signature(a) == failure.Signature(b)) {
			t.Fatalf("%+v and %+v: %s and %s", a, b, failure.Signature(a), failure.Signature(b))
		}
	})
	in := failure.SignatureInput{Source: "orders"}
	named := failure.SignatureInput{Source: "orders", Group: "default"}
	if failure.Signature(in) != failure.Signature(named) {
		t.Error("the empty group is not the default group")
	}
	f := failure.Failure{Category: failure.Schema, Type: "t", Message: "m 1", Frame: "f"}
	if f.Signature("s", "g") != failure.Signature(failure.SignatureInput{Source: "s", Group: "g", Category: failure.Schema, Type: "t", Message: "m 2", Frame: "f"}) {
		t.Error("the method does not agree with the function")
	}
}

func FuzzSignature(f *testing.F) {
	f.Add("orders", "default", uint8(1), "*x.Error", "order 7 is closed", "main.f")
	f.Add("", "", uint8(0), "", "", "")
	f.Add("\xff", "g", uint8(255), "é", "<n> \x00 '", "f")
	f.Fuzz(func(t *testing.T, source, group string, category uint8, typ, message, frame string) {
		in := failure.SignatureInput{Source: source, Group: group, Category: failure.Category(category), Type: typ, Message: message, Frame: frame}
		got := failure.Signature(in)
		if !signaturePattern.MatchString(got) {
			t.Fatalf("%q is no signature", got)
		}
		in.Message = failure.Normalise(message)
		if again := failure.Signature(in); again != got {
			t.Fatalf("the normal form has another signature: %s, %s", got, again)
		}
	})
}
