package realinput_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/server/internal/schema"
)

const (
	headerEvent     = "X-GitHub-Event"
	headerDelivery  = "X-GitHub-Delivery"
	headerSignature = "X-Hub-Signature-256"
	// headerLife names the worker that makes a request.
	headerLife = "X-Worker-Life"

	// broken is how many payloads are published once more with a wrong type in a
	// required field.
	broken = 12
)

// rule is how the endpoint treats a payload.
type rule string

const (
	accept    rule = "200"
	overload  rule = "503, then 200"
	conflict  rule = "409, then 200"
	throttle  rule = "429 with Retry-After, then 200"
	reset     rule = "connection reset, then 200"
	broke     rule = "500 always"
	malformed rule = "400"
	forbidden rule = "403, configured as business"
	gone      rule = "410"
	foreign   rule = "422 that says integration"
	setAside  rule = "400 that says quarantine"
	deadly    rule = "kills the worker"
	refused   rule = "never arrives"
)

// places says where a payload may end: more than one where it depends on how
// well the others fared at that time.
func (r rule) places() []string {
	names := broker.NamesFor(source, group)
	dead := func(c failure.Category) string { return names.DeadLetter + " as " + c.String() }
	aside := func(c failure.Category) string { return names.Quarantine(c) + " as " + c.String() }
	switch r {
	case accept, overload, conflict, throttle, reset:
		return []string{handled}
	case broke:
		return []string{dead(failure.Transient), aside(failure.Transient)}
	case malformed, refused:
		return []string{dead(failure.Schema)}
	case forbidden, gone:
		return []string{dead(failure.Business)}
	case foreign:
		return []string{dead(failure.Integration)}
	case setAside:
		return []string{aside(failure.Schema)}
	case deadly:
		return []string{aside(failure.Crash)}
	}
	return nil
}

// handled is the place of a payload that the endpoint answered with 2xx.
const handled = "handled"

// ruleOf picks the rule of a payload from the digest of its body.
func ruleOf(sum [sha256.Size]byte) rule {
	switch n := int(sum[0])<<8 | int(sum[1]); n % 100 {
	case 0, 1, 2, 3, 4, 5, 6, 7, 8, 9:
		return overload
	case 10, 11, 12, 13:
		return conflict
	case 14:
		return throttle
	case 16, 17, 18:
		return reset
	case 19, 20, 21:
		return broke
	case 22, 23, 24:
		return malformed
	case 25, 26:
		return forbidden
	case 27, 28:
		return gone
	case 29, 30:
		return foreign
	case 31, 32:
		return setAside
	}
	return accept
}

// payload is one message to publish. It is not changed after it was made.
type payload struct {
	example
	delivery string
	sum      [sha256.Size]byte
	headers  []broker.Header
	rule     rule
	// times is how often the endpoint fails before it accepts.
	times int
}

// String says which payload it is.
func (p *payload) String() string {
	if p == nil {
		return "an unknown payload"
	}
	return fmt.Sprintf("%s of %s (%s)", p.delivery, p.event, p.rule)
}

// newPayload gives an example the headers that GitHub sends.
func newPayload(e example, number int) *payload {
	p := &payload{example: e, sum: sha256.Sum256(e.body)}
	id := sha256.Sum256(fmt.Appendf(nil, "%s/%s/%d", e.origin, e.event, number))
	p.delivery = fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:16])
	p.headers = []broker.Header{
		{Name: "Content-Type", Value: []byte("application/json")},
		{Name: headerEvent, Value: []byte(e.event)},
		{Name: headerDelivery, Value: []byte(p.delivery)},
		{Name: headerSignature, Value: []byte(signature(e.body))},
	}
	p.rule = ruleOf(p.sum)
	p.times = 1 + int(p.sum[2])%2
	return p
}

// signature is how GitHub signs a body for an endpoint that shares a secret.
func signature(body []byte) string {
	mac := hmac.New(sha256.New, []byte("it's a secret to everybody"))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// payloads makes the messages: every example, and some that are broken on
// purpose. What the schema refuses is found by asking it here.
func payloads(t *testing.T, examples []example, v *schema.Validator) []*payload {
	t.Helper()
	all := make([]*payload, 0, len(examples)+broken+1)
	for i, e := range examples {
		all = append(all, newPayload(e, i))
	}
	refuse(t, v, all)
	var deadliest *payload
	spoilt := map[string]bool{}
	for _, p := range all[:len(examples)] {
		if p.rule == refused {
			continue
		}
		if p.rule == accept && (deadliest == nil || bytes.Compare(p.sum[:], deadliest.sum[:]) < 0) {
			deadliest = p
		}
		if body, ok := spoil(p.body); ok && len(spoilt) < broken && !spoilt[p.event] {
			spoilt[p.event] = true
			all = append(all, newPayload(example{"broken", p.event, body}, len(all)))
		}
	}
	require.NotNil(t, deadliest)
	cut := newPayload(example{"broken", deadliest.event, deadliest.body[:len(deadliest.body)/2]}, len(all))
	deadliest.rule = deadly
	all = append(all, cut)
	refuse(t, v, all[len(examples):])
	require.Len(t, all, len(examples)+broken+1)
	for _, p := range all[len(examples):] {
		require.Equal(t, refused, p.rule, "the schema takes a broken payload of %s", p.event)
	}
	return all
}

// refuse gives the rule refused to what does not match the schema. The examples
// repeat each other, so each body is checked once.
func refuse(t *testing.T, v *schema.Validator, all []*payload) {
	t.Helper()
	groups := map[[sha256.Size]byte][]*payload{}
	for _, p := range all {
		groups[p.sum] = append(groups[p.sum], p)
	}
	work := make(chan []*payload)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for same := range work {
				if v.Validate(t.Context(), same[0].body, "application/json") == nil {
					continue
				}
				for _, p := range same {
					p.rule = refused
				}
			}
		})
	}
	for _, same := range groups {
		work <- same
	}
	close(work)
	wg.Wait()
}

// spoil makes the sender, which nearly every event requires as an object, a
// number. All else stays as it was.
func spoil(body []byte) ([]byte, bool) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil || !bytes.HasPrefix(fields["sender"], []byte("{")) {
		return nil, false
	}
	return bytes.Replace(body, fields["sender"], []byte("42"), 1), true
}
