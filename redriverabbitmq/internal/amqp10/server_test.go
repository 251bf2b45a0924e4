package amqp10

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/Azure/go-amqp"

	"github.com/redrive-dev/redrive/internal/servertest"
)

// rabbit is a real server with clients of its own.
type rabbit struct {
	*testing.T
	server *servertest.Server
}

func start(t *testing.T, version string, options servertest.Options) *rabbit {
	t.Helper()
	return &rabbit{T: t, server: servertest.RabbitMQ(t, version, options)}
}

// everyVersion runs a test on each server that speaks AMQP 1.0 natively.
func everyVersion(t *testing.T, run func(r *rabbit, delays bool)) {
	t.Helper()
	for _, version := range []string{"4.0", "4.3"} {
		t.Run(version, func(t *testing.T) {
			run(start(t, version, servertest.Options{Shared: true}), version == "4.3")
		})
	}
}

func (r *rabbit) dial() *Conn {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), 30*time.Second)
	defer cancel()
	u, err := url.Parse(r.server.URL)
	if err != nil {
		r.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		r.Fatal(err)
	}
	password, _ := u.User.Password()
	c, err := Dial(ctx, Options{
		Host: u.Hostname(), Port: port, User: u.User.Username(), Password: password, Name: "test",
		Heartbeat: 20 * time.Second, Timeout: 20 * time.Second, Dial: (&net.Dialer{}).DialContext,
	})
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { _ = c.Close() })
	return c
}

// queue makes a quorum queue that dead-letters at least once to another, and is
// deleted at the end.
func (r *rabbit) queue(deadLetters string) string {
	r.Helper()
	name := fmt.Sprintf("amqp10 %s/%d", r.Name(), time.Now().UnixNano())
	arguments := `"x-queue-type":"quorum","x-delivery-limit":-1`
	if deadLetters != "" {
		arguments += fmt.Sprintf(`,"x-dead-letter-exchange":"","x-dead-letter-routing-key":%q,"x-dead-letter-strategy":"at-least-once","x-overflow":"reject-publish"`, deadLetters)
	}
	r.manage(http.MethodPut, "/queues/%2F/"+url.PathEscape(name), `{"durable":true,"arguments":{`+arguments+`}}`)
	r.Cleanup(func() { r.manage(http.MethodDelete, "/queues/%2F/"+url.PathEscape(name), "") })
	return name
}

// settleDown waits until a server that is killed remembers a queue that was just made:
// a member of a quorum queue is entered into a table that is written to disk half a
// second later, and one that is not in it begins anew and empty.
func (r *rabbit) settleDown() {
	timer := time.NewTimer(3 * time.Second)
	defer timer.Stop()
	<-timer.C
}

func (r *rabbit) manage(method, path, body string) {
	r.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	u, err := url.Parse(r.server.Settings["management"])
	if err != nil {
		r.Fatal(err)
	}
	request, err := http.NewRequestWithContext(ctx, method, u.Scheme+"://"+u.Host+"/api"+path, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	request.SetBasicAuth("redrive", "redrive")
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		r.Fatal(err)
	}
	said, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil || response.StatusCode >= 300 {
		r.Fatalf("%s %s: %s: %s: %v", method, path, response.Status, said, err)
	}
}

func (r *rabbit) publish(c *Conn, queue string, messages ...*amqp.Message) {
	r.Helper()
	sender, err := c.session.NewSender(r.Context(), address(queue), nil)
	if err != nil {
		r.Fatal(err)
	}
	var receipts []amqp.SendReceipt
	for _, m := range messages {
		m.Header = &amqp.MessageHeader{Durable: true}
		receipt, err := sender.SendWithReceipt(r.Context(), m, nil)
		if err != nil {
			r.Fatal(err)
		}
		receipts = append(receipts, receipt)
	}
	for _, receipt := range receipts {
		if state, err := receipt.Wait(r.Context()); err != nil {
			r.Fatal(err)
		} else if _, ok := state.(*amqp.StateAccepted); !ok {
			r.Fatalf("the server answered %v", state)
		}
	}
	if err := sender.Close(r.Context()); err != nil {
		r.Fatal(err)
	}
}

func (r *rabbit) numbered(n int) []*amqp.Message {
	out := make([]*amqp.Message, n)
	for i := range out {
		out[i] = amqp.NewMessage([]byte(strconv.Itoa(i)))
	}
	return out
}

func (r *rabbit) consume(c *Conn, queue string, window int) *Consumer {
	r.Helper()
	q, err := c.Consume(r.Context(), queue, window)
	if err != nil {
		r.Fatal(err)
	}
	return q
}

func (r *rabbit) one(q *Consumer) *Delivery {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), 30*time.Second)
	defer cancel()
	d, err := q.Receive(ctx)
	if err != nil {
		r.Fatalf("receive from %s: %v", q.queue, err)
	}
	return d
}

func (r *rabbit) settle(d *Delivery, s Settlement) {
	r.Helper()
	if err := d.Settle(r.Context(), s); err != nil {
		r.Fatalf("settle %+v: %v", s, err)
	}
}

// none fails if anything comes within d.
func (r *rabbit) none(q *Consumer, d time.Duration) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), d)
	defer cancel()
	if got, err := q.Receive(ctx); err == nil {
		r.Fatalf("received %q, want nothing", got.Message.GetData())
	}
}

// R2: the annotation x-opt-delivery-time delays a message that was given back, to the
// millisecond, from 4.3 on, and older servers take no notice of it. Annotations travel.
func TestR02DeliveryTime(t *testing.T) {
	everyVersion(t, func(r *rabbit, delays bool) {
		c := r.dial()
		queue := r.queue("")
		r.publish(c, queue, r.numbered(1)...)
		q := r.consume(c, queue, 1)
		for _, failed := range []bool{true, false} {
			due := time.Now().Add(1500 * time.Millisecond)
			note := fmt.Sprint("failed ", failed)
			r.settle(r.one(q), Settlement{Failed: failed, Annotations: map[string]any{"x-opt-delivery-time": due.UnixMilli() + 1, "x-opt-redrive": note}})
			d := r.one(q)
			if delayed := !time.Now().Before(due); delayed != delays {
				r.Errorf("it came %v after it was due: delayed %v, want %v", time.Since(due), delayed, delays)
			}
			if d.Message.Annotations["x-opt-redrive"] != note {
				r.Errorf("annotations are %v", d.Message.Annotations)
			}
			r.settle(d, Settlement{})
		}
		r.settle(r.one(q), Settlement{Accept: true})
		r.none(q, 200*time.Millisecond)
	})
}

// One settlement dead-letters a message with our annotations, its body and its
// properties as they were.
func TestElsewhereDeadLetters(t *testing.T) {
	everyVersion(t, func(r *rabbit, _ bool) {
		c := r.dial()
		dlq := r.queue("")
		queue := r.queue(dlq)
		m := amqp.NewMessage([]byte("body \x00\xff"))
		m.ApplicationProperties = map[string]any{"n": int64(7), "text": "Grüße"}
		r.publish(c, queue, m)
		q, letters := r.consume(c, queue, 1), r.consume(c, dlq, 1)
		r.settle(r.one(q), Settlement{Failed: true, Elsewhere: true, Annotations: map[string]any{"x-opt-redrive": "why"}})
		d := r.one(letters)
		if string(d.Message.GetData()) != "body \x00\xff" || d.Message.ApplicationProperties["n"] != int64(7) ||
			d.Message.ApplicationProperties["text"] != "Grüße" || d.Message.Annotations["x-opt-redrive"] != "why" {
			r.Errorf("the letter is %q, %v, %v", d.Message.GetData(), d.Message.ApplicationProperties, d.Message.Annotations)
		}
		r.settle(d, Settlement{Accept: true})
		r.none(q, 200*time.Millisecond)
	})
}

// No more than the window is out, and settlements make room for the next ones, also
// after a pause, in which nothing comes.
func TestWindow(t *testing.T) {
	everyVersion(t, func(r *rabbit, _ bool) {
		c := r.dial()
		queue := r.queue("")
		r.publish(c, queue, r.numbered(40)...)
		q := r.consume(c, queue, 10)
		var held []*Delivery
		for range 10 {
			held = append(held, r.one(q))
		}
		r.none(q, 300*time.Millisecond)
		for _, d := range held[:5] {
			r.settle(d, Settlement{Accept: true})
		}
		held = append(held[5:], r.one(q))
		if err := q.Pause(r.Context()); err != nil {
			r.Fatal(err)
		}
		for d := q.Arrived(); d != nil; d = q.Arrived() {
			held = append(held, d)
		}
		for _, d := range held {
			r.settle(d, Settlement{Accept: true})
		}
		r.none(q, 300*time.Millisecond)
		if err := q.Resume(); err != nil {
			r.Fatal(err)
		}
		for range 40 - 5 - len(held) {
			r.settle(r.one(q), Settlement{Accept: true})
		}
		r.none(q, 300*time.Millisecond)
		if err := q.Close(r.Context()); err != nil {
			r.Error(err)
		}
	})
}

// A settlement that was confirmed outlives a kill of the server; one that was not may
// come again, and is never lost.
func TestConfirmedSettlementsOutliveAKill(t *testing.T) {
	for _, version := range []string{"4.0", "4.3"} {
		t.Run(version, func(t *testing.T) {
			r := start(t, version, servertest.Options{})
			const messages, workers = 6000, 200
			c := r.dial()
			queue := r.queue("")
			r.settleDown()
			r.publish(c, queue, r.numbered(messages)...)
			q := r.consume(c, queue, workers)
			ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
			defer cancel()
			var mu sync.Mutex
			confirmed := map[string]bool{}
			enough := make(chan struct{})
			var wg sync.WaitGroup
			for range workers {
				wg.Go(func() {
					for {
						d, err := q.Receive(ctx)
						if err != nil || d.Settle(ctx, Settlement{Accept: true}) != nil {
							return
						}
						mu.Lock()
						confirmed[string(d.Message.GetData())] = true
						if len(confirmed) == messages/3 {
							close(enough)
						}
						mu.Unlock()
					}
				})
			}
			<-enough
			r.server.Kill()
			wg.Wait()
			r.server.Restart()
			again := r.consume(r.dial(), queue, messages)
			left := map[string]bool{}
			for {
				ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
				d, err := again.Receive(ctx)
				cancel()
				if err != nil {
					break
				}
				left[string(d.Message.GetData())] = true
			}
			back := 0
			for body := range confirmed {
				if left[body] {
					back++
				}
			}
			lost := 0
			for i := range messages {
				if body := strconv.Itoa(i); !left[body] && !confirmed[body] {
					lost++
				}
			}
			r.Logf("%d confirmed, %d left, %d neither: sent and not known to be applied", len(confirmed), len(left), lost)
			if back > 0 {
				r.Errorf("%d of %d confirmed settlements were forgotten", back, len(confirmed))
			}
			if lost > workers {
				r.Errorf("%d messages are gone without a confirmation, more than the %d in flight", lost, workers)
			}
		})
	}
}
